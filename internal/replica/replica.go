// Package replica is the deterministic core of a member: raft, the raft log and
// the state machine, stepped by a caller.
//
// A Replica is to a member what raft.RawNode is to raft. The caller gives it ticks,
// proposals, messages of peers, and the responses of finished work; and takes Work from
// it: append this to the log, apply these entries, send these messages. Three roles
// carry the work, each by one goroutine at a time (or, in a simulation, by a scheduler
// in any order that keeps each role's own order):
//
//	raft loop   Tick, Propose, ReadIndex, Step, Work
//	log writer  Append, Truncate
//	applier     Apply, and the machine's Sweep and Flush
//
// The roles share nothing but the raft log's own lock, so that the fsync of one
// batch overlaps the apply of the batch before it. A response must be stepped (or sent,
// when it is for a peer) only after the work that carried it is done; each role's
// work must be done in the order it was given.
//
// The package starts no goroutine and reads no clock.
package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/raftlog"
)

// ErrNoLeader says that nobody can take a proposal now.
var ErrNoLeader = errors.New("no leader")

// Config says who the replica is and how fast its ticks run.
type Config struct {
	ID             uint64
	ElectionTicks  int // ticks without a leader before an election
	HeartbeatTicks int // ticks between a leader's heartbeats
	Logger         raft.Logger
}

// Replica is one member's copy of the cluster's log and state.
type Replica struct {
	id      uint64
	raw     *raft.RawNode
	log     *raftlog.Log
	machine *machine.Machine

	soft raft.SoftState
	// clock runs while this replica leads; otherwise it is nil.
	clock *Clock
}

// Clock is how a leader's cluster time runs: on from what the log had come to when it
// began to lead, with the caller's monotonic clock. It never changes; nil is a clock that stands still.
type Clock struct {
	since time.Duration
	time  kv.ClusterTime
}

// Time returns the cluster time at the caller's monotonic clock, given the cluster time of
// the last applied entry: never less than that.
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
)

// New returns a replica over an opened log and machine, which must belong
// together.
func New(cfg Config, log *raftlog.Log, m *machine.Machine) (*Replica, error) {
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
		PreVote:                   true,
		CheckQuorum:               true,
		Logger:                    cfg.Logger,
		DisableProposalForwarding: false,
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return &Replica{id: cfg.ID, raw: raw, log: log, machine: m}, nil
}

// Tick advances the replica's logical clock by one.
func (r *Replica) Tick() { r.raw.Tick() }

// Campaign starts an election at once. A sole voter need not wait for a timeout.
func (r *Replica) Campaign() error { return r.raw.Campaign() }

// Leader returns the ID of the leader, 0 when none is known.
func (r *Replica) Leader() uint64 { return r.soft.Lead }

// Leads says whether this replica is the leader.
func (r *Replica) Leads() bool { return r.soft.RaftState == raft.StateLeader }

// SoleMember says whether no other member, voter or learner, has part in the log.
func (r *Replica) SoleMember() bool {
	n := 0
	r.raw.WithProgress(func(uint64, raft.ProgressType, tracker.Progress) { n++ })
	return n == 1
}

// Status returns raft's term, commit index and vote.
func (r *Replica) Status() raft.BasicStatus { return r.raw.BasicStatus() }

// Command is one request as a proposal carries it.
type Command struct {
	Kind    machine.Kind
	Payload []byte
}

// Propose packs commands into one entry. now is the caller's monotonic clock. It
// returns ErrNoLeader when the entry was not accepted; an accepted entry may still be
// lost with its leader.
func (r *Replica) Propose(now time.Duration, batch uint64, commands []Command) error {
	size := 32
	for _, c := range commands {
		size += len(c.Payload) + 6
	}
	h := machine.Header{Time: r.clock.Time(now, r.machine.ClusterTime()), Origin: r.id, Batch: batch}
	data := h.Append(make([]byte, 0, size))
	for _, c := range commands {
		data = machine.AppendCommand(data, c.Kind, c.Payload)
	}
	err := r.raw.Propose(data)
	if errors.Is(err, raft.ErrProposalDropped) {
		return ErrNoLeader
	}
	return err
}

// startClock lets cluster time run once a leader has applied the first entry of its
// term: only then does it know what time its predecessors had come to.
func (r *Replica) startClock(now time.Duration) {
	if r.clock == nil && r.Leads() && r.machine.AppliedTerm() == r.raw.BasicStatus().GetTerm() {
		r.clock = &Clock{since: now, time: r.machine.ClusterTime()}
	}
}

// Clock returns the clock of this replica's leadership, nil while it does not lead.
func (r *Replica) Clock() *Clock { return r.clock }

// ReadIndex asks the leader for the index that a linearizable read must have
// seen applied. The answer comes in a Work, under the same id, or is lost.
func (r *Replica) ReadIndex(id uint64) {
	r.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, id))
}

// Step takes a message of a peer, or a response of the replica's own work.
func (r *Replica) Step(m *raftpb.Message) error {
	err := r.raw.Step(m)
	if errors.Is(err, raft.ErrProposalDropped) || errors.Is(err, raft.ErrStepPeerNotFound) {
		return nil // the proposer's timeout, or a peer that is no more
	}
	return err
}

// Read says at which applied index the reads asked for by ReadIndex(ID) may be served.
type Read struct {
	ID    uint64
	Index uint64
}

// Work is what the replica wants done.
type Work struct {
	Append *raftpb.Message   // for the log writer, or nil
	Apply  *raftpb.Message   // for the applier, or nil
	Send   []*raftpb.Message // for peers, at once
	Reads  []Read
	// Elected and Deposed tell of a change of leadership of this replica;
	// LeaderChanged of any.
	LeaderChanged, Elected, Deposed bool
}

// Work returns what has come to be done since the last call, and whether there
// is anything. now is the caller's monotonic clock.
func (r *Replica) Work(now time.Duration) (w Work, ok bool) {
	r.startClock(now)
	if !r.raw.HasReady() {
		return w, false
	}
	rd := r.raw.Ready()
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			w.Append = m
		case raft.LocalApplyThread:
			w.Apply = m
		default:
			w.Send = append(w.Send, m)
		}
	}
	for _, s := range rd.ReadStates {
		if len(s.RequestCtx) == 8 {
			w.Reads = append(w.Reads, Read{ID: binary.BigEndian.Uint64(s.RequestCtx), Index: s.Index})
		}
	}
	if rd.SoftState != nil {
		led := r.Leads()
		w.LeaderChanged = rd.Lead != r.soft.Lead
		r.soft = *rd.SoftState
		w.Elected, w.Deposed = !led && r.Leads(), led && !r.Leads()
		if !r.Leads() {
			r.clock = nil
		}
	}
	return w, true
}

// Append does appends in their order, with one fsync, and returns the responses
// that are now due.
func (r *Replica) Append(msgs []*raftpb.Message) (responses []*raftpb.Message, err error) {
	if err := r.log.Append(msgs); err != nil {
		return nil, err
	}
	return responsesOf(msgs), nil
}

// Apply applies the entries of msgs in their order, in one batch, and returns
// the responses that are now due.
func (r *Replica) Apply(msgs []*raftpb.Message, waiting machine.Waiting) (responses []*raftpb.Message, err error) {
	var entries []*raftpb.Entry
	if len(msgs) == 1 {
		entries = msgs[0].Entries
	} else {
		for _, m := range msgs {
			entries = append(entries, m.Entries...)
		}
	}
	if err := r.machine.Apply(entries, waiting); err != nil {
		return nil, err
	}
	return responsesOf(msgs), nil
}

func responsesOf(msgs []*raftpb.Message) []*raftpb.Message {
	if len(msgs) == 1 {
		return msgs[0].Responses
	}
	var out []*raftpb.Message
	for _, m := range msgs {
		out = append(out, m.Responses...)
	}
	return out
}

// Truncate removes the log entries that the state no longer needs, but for keep
// of them. The log writer calls it.
func (r *Replica) Truncate(keep uint64) error {
	durable, err := r.machine.DurableIndex()
	if err != nil {
		return err
	}
	if durable <= keep {
		return nil
	}
	return r.log.Truncate(durable - keep)
}

// ReleaseApplied lets go of the memory of applied entries that no peer waits for.
func (r *Replica) ReleaseApplied() { r.log.Release(r.machine.AppliedIndex()) }
