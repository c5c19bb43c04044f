// Package replica is the deterministic core of a member: raft, the raft log and the state machine,
// stepped by a caller.
//
// A Replica is to a member what raft.RawNode is to raft. The caller passes it ticks, proposals,
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
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/raftlog"
	"cairn/internal/storage"
)

// ErrNoLeader reports that no member can accept a proposal at present.
var ErrNoLeader = errors.New("no leader")

// Config has the identity of the replica and its timing in ticks.
type Config struct {
	ID             uint64
	ElectionTicks  int // ticks without a leader before an election
	HeartbeatTicks int // ticks between a leader's heartbeats
	Logger         raft.Logger

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

	soft   raft.SoftState
	term   uint64
	commit atomic.Uint64 // for CommitIndex alone
	// shownTerm is term, shownLeader the leader, and handedOut the index up to which Work has
	// handed out entries to append, for CheckMessage.
	shownTerm, shownLeader, handedOut atomic.Uint64
	// clock runs while this replica leads; otherwise it is nil.
	clock *Clock

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

// Clock is a leader's cluster time: it starts at the time in the log when the leadership began, and
// advances with the caller's monotonic clock. It never changes; nil is a clock that does not
// advance.
type Clock struct {
	since time.Duration
	time  kv.ClusterTime
}

// Time returns the cluster time at the caller's monotonic clock, and at least applied, the cluster
// time of the last applied entry.
func (c *Clock) Time(now time.Duration, applied kv.ClusterTime) kv.ClusterTime {
	if c == nil {
		return applied
	}
	return max(applied, c.time+kv.ClusterTime(now-c.since))
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
		HeartbeatTick:             cfg.HeartbeatTicks,
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
		id: cfg.ID, raw: raw, log: log, machine: m, term: raw.BasicStatus().GetTerm(), clusterID: cfg.ClusterID, receivePath: cfg.ReceiveDir,
	}
	r.shownTerm.Store(r.term)
	r.snapshots.outgoing = make(map[*Outgoing]struct{})
	return r, nil
}

// Tick advances the replica's logical clock by one.
func (r *Replica) Tick() { r.raw.Tick() }

// Campaign starts an election at once. A sole voter need not wait for a timeout.
func (r *Replica) Campaign() error { return r.raw.Campaign() }

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

// Term returns the term as of the last Work.
func (r *Replica) Term() uint64 { return r.term }

// CommitIndex returns the commit index as raft last stored it in the log; 0 before the first time.
// Any goroutine may call it.
func (r *Replica) CommitIndex() uint64 { return r.commit.Load() }

// Command is one request as encoded in a proposal.
type Command struct {
	Kind    machine.Kind
	Payload []byte
}

// Propose packs commands into one entry. now is the caller's monotonic clock. It
// returns ErrNoLeader when the entry was not accepted; an accepted entry may still be
// lost with its leader.
func (r *Replica) Propose(now time.Duration, batch uint64, commands []Command) error {
	return refusal(r.raw.Propose(r.entryData(now, batch, commands)))
}

// ProposeChange is Propose for a command that changes the raft configuration: it is alone in its
// entry, and change is the configuration change for raft (machine.NewChange). One change can be in
// progress at a time: raft drops a further one silently.
func (r *Replica) ProposeChange(now time.Duration, batch uint64, command Command, change *raftpb.ConfChangeV2) error {
	if r.mustTransfer(change) {
		return ErrNoLeader
	}
	change.Context = r.entryData(now, batch, []Command{command})
	return refusal(r.raw.ProposeConfChange(change))
}

func (r *Replica) entryData(now time.Duration, batch uint64, commands []Command) []byte {
	size := 32
	for _, c := range commands {
		size += len(c.Payload) + 6
	}
	h := machine.Header{Time: r.clock.Time(now, r.machine.ClusterTime()), Origin: r.id, Batch: batch}
	data := h.Append(make([]byte, 0, size))
	for _, c := range commands {
		data = machine.AppendCommand(data, c.Kind, c.Payload)
	}
	return data
}

func refusal(err error) error {
	if errors.Is(err, raft.ErrProposalDropped) {
		return ErrNoLeader
	}
	return err
}

// startClock starts the clock once a leader has applied the first entry of its term: only then does
// it know its predecessors' last cluster time.
func (r *Replica) startClock(now time.Duration) {
	if r.clock == nil && r.Leads() && r.machine.AppliedTerm() == r.term {
		r.clock = &Clock{since: now, time: r.machine.ClusterTime()}
	}
}

// Clock returns the clock of this replica's leadership, nil while it does not lead.
func (r *Replica) Clock() *Clock { return r.clock }

// ReadIndex requests from the leader the index that must be applied before a linearizable read. The
// response comes in a Work, with the same id, or is lost.
func (r *Replica) ReadIndex(id uint64) {
	r.requestIndex(&raftpb.Message{
		Type: raftpb.MsgReadIndex.Enum(), Entries: []*raftpb.Entry{{Data: binary.BigEndian.AppendUint64(nil, id)}},
	})
}

// requestIndex passes raft a request for the index of linearizable reads, of this member or of a
// follower. A new leader does not know its predecessors' commit index until the first entry of its
// own term is committed. Raft defers requests until then, except in a cluster of one voter, whose
// stored commit index may be too old as well, since it is written with the next append.
func (r *Replica) requestIndex(m *raftpb.Message) {
	if s := r.raw.BasicStatus(); s.RaftState == raft.StateLeader && r.machine.AppliedTerm() != s.GetTerm() {
		r.early = append(r.early, m)
		return
	}
	_ = r.raw.Step(m) // on an error the requester times out and retries
}

// requestEarly passes the requests that arrived too early to raft again.
func (r *Replica) requestEarly() {
	early := r.early
	r.early = nil
	for _, m := range early {
		if r.Leads() || m.GetFrom() == 0 {
			r.requestIndex(m)
		}
	}
}

// Step processes a message of a peer that CheckMessage has accepted, or a response of the replica's
// own work. The replica owns the message afterwards. now is the caller's monotonic clock. An error
// is fatal for the member.
func (r *Replica) Step(now time.Duration, m *raftpb.Message) error {
	if m.GetType() == raftpb.MsgProp {
		// A proposal for an earlier leader is not forwarded: the proposer's request has already
		// failed with an unknown outcome.
		if !r.Leads() {
			return nil
		}
		// The member that forwarded it does not know the leader's cluster time.
		for _, e := range m.Entries {
			if e.GetType() == raftpb.EntryNormal {
				machine.Restamp(e.Data, r.clock.Time(now, r.machine.ClusterTime()))
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

// mustTransfer reports whether this leader must transfer leadership instead of proposing a change:
// one that removes it. A removed leader sends nothing more, and the remaining one of two voters
// might never learn that the change was committed.
func (r *Replica) mustTransfer(change *raftpb.ConfChangeV2) bool {
	for _, c := range change.GetChanges() {
		if c.GetType() != raftpb.ConfChangeRemoveNode || c.GetNodeId() != r.id {
			continue
		}
		if to := r.Successor(); to != 0 {
			r.TransferLeadership(to)
			return true
		}
	}
	return false
}

// Successor returns the active voter, other than this leader, with the highest matching index; 0
// when there is none, or this replica is not the leader.
func (r *Replica) Successor() (id uint64) {
	match := uint64(0)
	for _, f := range r.Followers() {
		if f.ID != r.id && !f.Learner && f.Active && f.Match >= match {
			id, match = f.ID, f.Match
		}
	}
	return id
}

// TransferLeadership transfers leadership to a voter, once that has caught up. A follower requests
// it from the leader.
func (r *Replica) TransferLeadership(to uint64) { r.raw.TransferLeader(to) }

// ReportUnreachable reports that messages to a peer were lost.
func (r *Replica) ReportUnreachable(id uint64) { r.raw.ReportUnreachable(id) }

// ReportSnapshot reports the result of sending a snapshot to a peer.
func (r *Replica) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFailure
	if ok {
		status = raft.SnapshotFinish
	}
	r.raw.ReportSnapshot(id, status)
}

// Follower is the progress of a member, as the leader knows it.
type Follower struct {
	ID      uint64
	Learner bool
	Match   uint64 // the last entry that it is known to have on disk
	Active  bool   // it responded during the last election timeout
}

// Followers returns the progress of all members, including this one; nil while this replica is not
// the leader.
func (r *Replica) Followers() (followers []Follower) {
	if !r.Leads() {
		return nil
	}
	r.raw.WithProgress(func(id uint64, t raft.ProgressType, p tracker.Progress) {
		followers = append(followers, Follower{
			ID: id, Learner: t == raft.ProgressTypeLearner, Match: p.Match, Active: p.RecentActive || id == r.id,
		})
	})
	return followers
}
