// Package replica is the deterministic core of a member: raft, the raft log and the state machine,
// stepped by a caller.
//
// A Replica is stepped like a raft.RawNode. The caller passes it ticks, proposals,
// messages of peers, and the responses of finished work; and receives Work: append this to the log,
// apply these entries, send these messages. Three roles do the work, each by one goroutine at a
// time (or, in a simulation, by a scheduler in any order that preserves each role's own order):
//
//	raft loop   Tick, Propose, ProposeChange, ReadIndex, Step, Finish, Work, and the methods about peers
//	log writer  Append, Truncate
//	applier     Apply, and the machine's Sweep and Flush
//
// Snapshots are sent and received by any goroutine, see snapshot.go. Installing one is a step of
// two roles at once: the caller must have the log writer's and the applier's.
//
// The roles share nothing but the raft log's own lock, so that the fsync of one batch overlaps the
// apply of the batch before it. A response must be stepped (or sent, when it is for a peer) only
// after the work that carried it is done; each role's work must be done in the order in which it
// was handed out.
//
// The package starts no goroutine and reads no clock.
package replica

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"cairn/internal/machine"
	"cairn/internal/raftlog"
	"cairn/internal/storage"
)

// Config has the identity of the replica and its timing in ticks.
type Config struct {
	ID uint64
	// ElectionTicks is how many ticks without a leader pass before an election. A leader sends
	// heartbeats at each tick.
	ElectionTicks int
	Logger        raft.Logger

	ClusterID  uint64     // in the headers of snapshots; snapshots of other clusters are refused
	FS         storage.FS // the file system of the stores; the operating system's when nil
	ReceiveDir string     // next to the state store; received snapshots are prepared there
}

// Replica is one member's copy of the cluster's log and state.
type Replica struct {
	id      uint64
	raw     *raft.RawNode
	log     *raftlog.Log
	machine *machine.Machine

	soft raft.SoftState
	// term and commit are those of the last Work, and leader the leader. handedOut is the index up
	// to which Work has handed out entries to append. The raft loop writes them, any goroutine
	// reads them.
	term, commit, leader, handedOut atomic.Uint64
	// followed is the index up to which all active followers have the log; see updateFollowed. The
	// raft loop writes it, and has the value of the previous tick; the log writer reads it.
	followed       atomic.Uint64
	followedBefore uint64
	// clock runs while this replica leads; otherwise it is nil. The raft loop writes it, any
	// goroutine reads it.
	clock atomic.Pointer[Clock]

	// mayDiffer reports that raft's term may be newer than term. forwardedIn is the term of the
	// last proposal. Both are the raft loop's.
	mayDiffer   bool
	forwardedIn uint64

	// early has the requests for a read index that arrived before this leader knew it.
	early []*raftpb.Message

	// restored is the index of the last snapshot that raft has accepted; readies has the Ready at
	// that moment.
	restored uint64
	readies  []raft.Ready

	unapplied unapplied // the applier's

	clusterID   uint64
	receivePath string
	snapshots   snapshots
}

// Limits of raft's flow control, in bytes.
const (
	appendBytesMax      = 1 << 20  // of one message with entries
	applyBytesMax       = 32 << 20 // of committed entries handed out and not yet applied
	inflightMessagesMax = 256
	// sent to one follower and not acknowledged; the follower may have to hold them
	inflightBytesMax    = 64 << 20
	uncommittedBytesMax = 512 << 20
)

// New returns a replica over an opened log and machine, which must belong
// together.
func New(cfg Config, log *raftlog.Log, m *machine.Machine) (*Replica, error) {
	// A snapshot that was being received before the restart is useless: the leader sends it again.
	if err := storage.RemoveTables(cfg.FS, cfg.ReceiveDir); err != nil {
		return nil, fmt.Errorf("start replica: %w", err)
	}
	log.OfferSnapshots(m.SnapshotMetadata)
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        cfg.ID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   log,
		Applied:                   m.AppliedIndex(),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             appendBytesMax,
		MaxCommittedSizePerReady:  applyBytesMax,
		MaxInflightMsgs:           inflightMessagesMax,
		MaxInflightBytes:          inflightBytesMax,
		MaxUncommittedEntriesSize: uncommittedBytesMax,
		StepDownOnRemoval:         true,
		PreVote:                   true,
		CheckQuorum:               true,
		Logger:                    cfg.Logger,
		DisableProposalForwarding: false,
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	r := &Replica{
		id: cfg.ID, raw: raw, log: log, machine: m, clusterID: cfg.ClusterID, receivePath: cfg.ReceiveDir,
	}
	r.term.Store(raw.BasicStatus().GetTerm())
	r.followedBefore = math.MaxUint64
	r.followed.Store(math.MaxUint64)
	r.snapshots.outgoing = make(map[*Outgoing]struct{})
	return r, nil
}

// Tick advances the replica's logical clock by one.
func (r *Replica) Tick() {
	r.updateFollowed()
	r.mayDiffer = true
	r.raw.Tick()
}

// Campaign starts an election at once. A sole voter need not wait for a timeout.
func (r *Replica) Campaign() error {
	r.mayDiffer = true
	return r.raw.Campaign()
}

// Leader returns the ID of the leader, 0 when none is known.
func (r *Replica) Leader() uint64 { return r.soft.Lead }

// Leads reports whether this replica is the leader.
func (r *Replica) Leads() bool { return r.soft.RaftState == raft.StateLeader }

// SoleMember reports whether the cluster has no other member, voter or learner.
func (r *Replica) SoleMember() bool {
	n := 0
	r.raw.WithProgress(func(uint64, raft.ProgressType, tracker.Progress) { n++ })
	return n == 1
}

// Term returns the term as of the last Work. Any goroutine may call it.
func (r *Replica) Term() uint64 { return r.term.Load() }

// CommitIndex returns the commit index as raft last stored it in the log; 0 before the first time.
// Any goroutine may call it.
func (r *Replica) CommitIndex() uint64 { return r.commit.Load() }

// Step processes a message of a peer that CheckMessage has accepted, or a response of the replica's
// own work. The replica owns the message afterwards. now is the caller's monotonic clock. An error
// is fatal for the member.
func (r *Replica) Step(now time.Duration, m *raftpb.Message) error {
	if m.GetType() == raftpb.MsgProp {
		// A proposal is accepted only in the term in which it was forwarded: its proposer proposes
		// it again when an entry of a later term has been applied. 0.1.0 does not state the term,
		// and does not propose it again.
		if term := m.GetLogTerm(); !r.Leads() || term != 0 && term != r.ProposalTerm() {
			return nil
		}
		// The member that forwarded it does not know the leader's cluster time.
		for _, e := range m.Entries {
			if e.GetType() == raftpb.EntryNormal {
				machine.Restamp(e.Data, r.Clock().Time(now, r.machine.ClusterTime()))
				continue
			}
			change := new(raftpb.ConfChangeV2)
			if proto.Unmarshal(e.Data, change) == nil && r.mustTransfer(change) {
				return nil // the requester retries
			}
		}
	}
	if m.GetType() == raftpb.MsgReadIndex {
		r.requestIndex(m)
		return nil
	}
	r.mayDiffer = true
	err := r.raw.Step(m)
	if at := m.GetSnapshot().GetMetadata(); m.GetType() == raftpb.MsgSnap && r.raw.BasicStatus().GetCommit() < at.GetIndex() {
		r.snapshots.refuse(at.GetIndex(), at.GetTerm())
	}
	if errors.Is(err, raft.ErrProposalDropped) || errors.Is(err, raft.ErrStepPeerNotFound) {
		return nil // the proposer times out, or the peer is no longer a member
	}
	if m.GetType() == raftpb.MsgSnap && r.raw.HasReady() {
		// Find out before the next Finish whether raft has adopted the snapshot's configuration.
		rd := r.raw.Ready()
		r.readies = append(r.readies, rd)
		if !raft.IsEmptySnap(rd.Snapshot) {
			r.restored = rd.Snapshot.GetMetadata().GetIndex()
		}
	}
	return err
}

// Finish processes the result of the applier.
func (r *Replica) Finish(now time.Duration, a Applied) error {
	// Before the responses, since those make raft use its configuration. The configuration of a
	// snapshot that raft has accepted meanwhile includes these changes, and perhaps others that
	// reverted them.
	if a.Index > r.restored {
		for _, change := range a.Changes {
			r.raw.ApplyConfChange(change)
		}
	}
	for _, m := range a.Responses {
		if err := r.Step(now, m); err != nil {
			return err
		}
	}
	return nil
}
