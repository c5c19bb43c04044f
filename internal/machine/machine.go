// Package machine is the deterministic state machine: committed entries in,
// one batch, results out.
//
// An entry is a header and a list of commands (drawn in docs/formats/entry.md). Each
// command is one switch, using mvcc, lease or v2tree, and either changes the store as a whole
// or not at all. A run of entries becomes one storage batch, which also carries the
// applied index, so that after a crash the store is exactly the state after some entry,
// and replay goes on behind it: nothing is applied twice, nothing is skipped.
//
// Invariants: applying the same entries gives the same keys, history and position on every
// member, however they are cut into batches (not the same bytes: where the count index
// divides its blocks, and when tombstones are swept, depends on the cuts); the applied index never goes back; cluster time never
// goes back.
//
// Apply, Sweep and Flush belong to one goroutine, the applier. Keys and the applied
// index may be read beside it.
package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// position is what table s keeps: how far the state has come. It is written with
// every batch.
type position struct {
	index    uint64 // the last applied entry
	term     uint64 // its term
	revision int64
	compact  int64
	time     kv.ClusterTime
	// commands is how many commands of the entry after index are applied already: a
	// batch that grows large is ended within an entry.
	commands uint64
}

var positionKey = []byte{byte(storage.TableSystem), 'p'}

// Machine is the state of one member.
type Machine struct {
	db      *storage.Store
	keys    *mvcc.Store
	members *membership.Table
	auth    *auth.Table
	alarms  *alarm.Table
	w       *mvcc.Writer
	b       *storage.Batch
	buf     []byte
	v2      V2Counters

	pos     position      // as of the last batch
	next    position      // as of the batch that is being made
	applied atomic.Uint64 // pos.index, for readers beside the applier
	term    atomic.Uint64 // pos.term, likewise
	time    atomic.Int64  // pos.time, likewise
	// changes are the configuration changes of the batches of this Apply, for raft.
	changes []*raftpb.ConfChangeV2
	// installed is the index of the last snapshot that was installed in this life: entries up to it may yet come.
	installed uint64

	shownMu   sync.Mutex // guards what follows, which is for SnapshotMetadata
	shown     position
	shownConf *raftpb.ConfState
}

// Initialize writes the state of a new member, before the first entry: index and
// term stand for the initial membership, which all first members agree on: the
// founders, who are all voters. A member that joins begins at index 0, and its founders are the members that it was told of.
func Initialize(db *storage.Store, index, term uint64, founders []membership.Member) error {
	b := db.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	membership.Initialize(b, founders)
	b.Set(positionKey, position{index: index, term: term, revision: mvcc.FirstRevision}.append(nil))
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("initialize state: %w", err)
	}
	if err := db.Flush(); err != nil {
		return fmt.Errorf("initialize state: %w", err)
	}
	return nil
}

// Open returns the state in db, as of the last batch that reached the disk.
func Open(db *storage.Store) (*Machine, error) {
	m := &Machine{db: db, b: db.NewBatch()}
	if err := m.loadPosition(); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	var err error
	if m.members, err = membership.Open(db); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if m.auth, err = auth.Open(db); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if m.alarms, err = alarm.Open(db); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if m.keys, err = mvcc.Open(db, m.pos.revision, m.pos.compact); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	m.w = m.keys.NewWriter()
	m.showApplied(true)
	return m, nil
}

// loadPosition reads how far the state has come.
func (m *Machine) loadPosition() error {
	v, err := m.db.Get(positionKey, nil)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if m.pos, err = decodePosition(v); err != nil {
		return err
	}
	return nil
}

// showApplied lets those beside the applier see the present position, and the membership where that has changed.
func (m *Machine) showApplied(membersChanged bool) {
	m.shownMu.Lock()
	m.shown = m.pos
	if membersChanged {
		m.shownConf = m.members.ConfState()
	}
	m.shownMu.Unlock()
	m.time.Store(int64(m.pos.time))
	m.term.Store(m.pos.term)
	m.applied.Store(m.pos.index)
}

// Events gives what the last Apply has changed, and n says how many events that are.
// It is the applier's; see mvcc.Writer.Events.
func (m *Machine) Events() (events iter.Seq[*kv.Event], n int) {
	return m.w.Events(), m.w.EventCount()
}

// Tally returns what Events gives in numbers.
func (m *Machine) Tally() mvcc.Tally { return m.w.Tally() }

// Changes returns the configuration changes that have taken effect in the last Apply, in their order, for raft. It is
// the applier's.
func (m *Machine) Changes() []*raftpb.ConfChangeV2 { return m.changes }

// Keys returns the key space, for readers.
func (m *Machine) Keys() *mvcc.Store { return m.keys }

// Members returns the members as of the last applied entry, in the order of their
// IDs. The caller must not change what it gets.
func (m *Machine) Members() []membership.Member { return m.members.List() }

// Removed says whether the member with an ID was removed from the cluster.
func (m *Machine) Removed(id uint64) bool { return m.members.Removed(id) }

// Auth returns users, roles and permissions.
func (m *Machine) Auth() *auth.Table { return m.auth }

// Alarms returns the alarms as of the last applied entry.
func (m *Machine) Alarms() *alarm.State { return m.alarms.Present() }

// V2Counters returns the counts of v2's writes.
func (m *Machine) V2Counters() *V2Counters { return &m.v2 }

// AppliedIndex returns the index of the last applied entry.
func (m *Machine) AppliedIndex() uint64 { return m.applied.Load() }

// AppliedTerm returns the term of the last applied entry.
func (m *Machine) AppliedTerm() uint64 { return m.term.Load() }

// ClusterTime returns the cluster time of the last applied entry.
func (m *Machine) ClusterTime() kv.ClusterTime { return kv.ClusterTime(m.time.Load()) }

// ConfState returns the membership as of the applied index, as raft wants it. A member that has yet to get its state has
// been told who the others are, not as of when: it has no part in anything.
func (m *Machine) ConfState() *raftpb.ConfState {
	if m.AppliedIndex() == 0 {
		return &raftpb.ConfState{}
	}
	return m.members.ConfState()
}

// DurableIndex returns the applied index that the disk is certain to have.
func (m *Machine) DurableIndex() (uint64, error) {
	v, err := m.db.GetDurable(positionKey, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read durable position: %w", err)
	}
	p, err := decodePosition(v)
	return p.index, err
}

// Result answers one command: in the member that its kind has, or with an error
// of the package that refused it.
type Result struct {
	Err    error
	Put    mvcc.PutResult
	Delete mvcc.DeleteResult
	Txn    mvcc.TxnResult
	V2     v2tree.Result
	Lease  lease.Lease
	Auth   auth.Result
	Alarms []alarm.Alarm // what the command has raised or lifted
	// Revision is the store's after the command, also after a refused one.
	Revision int64
	// Done says that the command has been applied.
	Done bool
}

// Waiting takes the results of commands.
type Waiting interface {
	// Results returns where the n results of an entry are to be put, or nil when
	// nobody waits for them.
	Results(h Header, n int) []*Result
	// Applied is called after a batch has become visible, before the next is begun: the
	// results with Done set are valid, and Events has the batch's events.
	Applied()
}

// batchBytesMax is how much the events of a batch may take before the batch is ended,
// be it within an entry.
const batchBytesMax = 64 << 20

// Apply applies committed entries, in one batch or, where they change very much, in
// several, and gives results to those who wait. An error means that the member cannot go
// on: the store failed, or the log holds what this cairn does not understand.
func (m *Machine) Apply(entries []*raftpb.Entry, waiting Waiting) error {
	m.next, m.changes = m.pos, nil
	if err := m.begin(); err != nil {
		return err
	}
	for _, e := range entries {
		if e.GetIndex() <= m.installed {
			continue // in the snapshot
		}
		if e.GetIndex() != m.next.index+1 {
			return fmt.Errorf("%w: entry %d after entry %d", ErrBadCommand, e.GetIndex(), m.next.index)
		}
		if err := m.applyEntry(e, waiting); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
		m.next.index, m.next.term, m.next.commands = e.GetIndex(), e.GetTerm(), 0
	}
	return m.commit(waiting)
}

// begin starts a batch.
func (m *Machine) begin() error {
	m.b.Reset()
	m.members.Begin()
	m.auth.Begin()
	m.alarms.Begin()
	if err := m.w.Begin(m.b); err != nil {
		return fmt.Errorf("begin batch at entry %d: %w", m.next.index+1, err)
	}
	return nil
}

// commit ends the batch at next and makes it visible.
func (m *Machine) commit(waiting Waiting) error {
	if err := m.w.Finish(); err != nil {
		return fmt.Errorf("finish batch at entry %d: %w", m.next.index, err)
	}
	m.next.revision, m.next.compact = m.w.Revision(), m.w.CompactRevision()
	m.buf = m.next.append(m.buf[:0])
	m.b.Set(positionKey, m.buf)
	if err := m.b.Commit(false); err != nil {
		return fmt.Errorf("commit batch at entry %d: %w", m.next.index, err)
	}
	m.pos = m.next
	m.alarms.Publish()
	m.auth.Publish() // before the keys: whoever reads them sees that permissions have changed
	m.w.Publish()
	m.members.Publish()
	m.showApplied(len(m.changes) > 0)
	waiting.Applied()
	return nil
}

func (m *Machine) applyEntry(e *raftpb.Entry, waiting Waiting) error {
	data := e.Data
	var change *raftpb.ConfChangeV2
	if e.GetType() != raftpb.EntryNormal {
		var err error
		if change, err = decodeChange(e); err != nil {
			return err
		}
		data = change.GetContext()
	}
	if len(data) == 0 {
		return nil // a new leader's first entry
	}
	d := codec.NewReader(data)
	h, err := decodeHeader(&d)
	if err != nil {
		return err
	}
	m.next.time = max(m.next.time, h.Time)
	n, err := countCommands(d)
	if err != nil {
		return err
	}
	results := waiting.Results(h, n)
	var unheard Result
	for i := range n {
		res := &unheard
		if results != nil {
			res = results[i]
		}
		kind, payload := Kind(d.Byte()), d.Bytes()
		if uint64(i) < m.next.commands {
			continue // in an earlier life, or an earlier batch
		}
		if err := m.applyCommand(kind, payload, m.next.time, change, res); err != nil {
			return err
		}
		res.Revision, res.Done = m.w.Revision(), true
		m.next.commands++
		if m.w.Bytes() > batchBytesMax {
			if err := errors.Join(m.commit(waiting), m.begin()); err != nil {
				return err
			}
		}
	}
	return nil
}

// countCommands returns how many commands are left to read.
func countCommands(d codec.Reader) (n int, err error) {
	for ; d.Len() > 0; n++ {
		d.Byte()
		d.Bytes()
	}
	return n, damaged("command", d.Err())
}

// applyCommand runs one command. What the command's client did wrong goes into
// the result; an error that is returned stops the member.
// change is the configuration change that carries the command, nil for those of an ordinary entry.
func (m *Machine) applyCommand(kind Kind, payload []byte, now kv.ClusterTime, change *raftpb.ConfChangeV2, res *Result) error {
	actor, err := openAs(&kind, &payload)
	if err != nil {
		return err
	}
	who, err := m.admit(kind, actor)
	if err != nil {
		return m.settle(err, res)
	}
	d := codec.NewReader(payload)
	if kind == KindCompact || kind == KindAutoCompact {
		rev := d.Varint()
		if err := damaged("compaction", d.Err()); err != nil {
			return err
		}
		if kind == KindCompact {
			err = needRoot(who)
		}
		if err == nil {
			err = m.alarms.Next().MayChange()
		}
		if err == nil {
			err = m.w.Compact(rev)
		}
		return m.settle(err, res)
	}
	m.w.Start()
	if kind == KindMembership {
		err = m.changeMembers(&d, change, who)
	} else {
		err = m.change(kind, &d, now, who, res)
	}
	if err == nil {
		return m.w.End()
	}
	m.w.Abort()
	return m.settle(err, res)
}

// change runs a command that writes keys, leases, or users and roles, if who may.
func (m *Machine) change(kind Kind, d *codec.Reader, now kv.ClusterTime, who *auth.Subject, res *Result) (err error) {
	switch kind {
	case KindPut:
		var op mvcc.PutOp
		if decodePut(d, &op); d.Err() != nil {
			return damaged("put", d.Err())
		}
		if err := errors.Join(m.alarms.Next().MayAdd(), PermitPut(who, &op), m.permitLease(who, op.Lease)); err != nil {
			return err
		}
		res.Put, err = m.w.Put(&op)
	case KindDelete:
		var op mvcc.DeleteOp
		if decodeDelete(d, &op); d.Err() != nil {
			return damaged("delete", d.Err())
		}
		if err := m.alarms.Next().MayChange(); err != nil {
			return err
		}
		if err := PermitDelete(who, &op); err != nil {
			return err
		}
		res.Delete, err = m.w.Delete(&op)
	case KindTxn:
		t := decodeTxn(d, 0)
		if err := d.Err(); err != nil {
			return damaged("transaction", err)
		}
		if err := errors.Join(m.mayTxn(t), PermitTxn(who, t), m.permitLeases(who, t)); err != nil {
			return err
		}
		res.Txn, err = m.w.Txn(t)
	case KindV2:
		var c v2tree.Command
		if c, err = v2tree.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if err = m.mayV2(&c); err == nil {
			res.V2, err = m.applyV2(now, &c, who)
		}
		m.v2.count(c.Kind, err)
	case KindAuth:
		var c auth.Command
		if c, err = auth.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if c.Kind != auth.KindLogin { // that is a member's word, who has checked a password
			err = needRoot(who)
		}
		if err == nil {
			res.Auth, err = m.auth.Apply(m.b, now, &c)
		}
	case KindLease:
		var c lease.Command
		if c, err = lease.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if err = m.mayLease(&c); err == nil {
			res.Lease, err = m.applyLease(now, &c, who)
		}
	case KindAlarm:
		var c alarm.Command
		if c, err = alarm.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		res.Alarms, err = m.applyAlarm(&c, who)
	default:
		return fmt.Errorf("%w: kind %d, which this cairn does not know", ErrBadCommand, kind)
	}
	return err
}

// settle divides a command's error: a client's goes into the result, a member's
// is returned.
func (m *Machine) settle(err error, res *Result) error {
	var refused *v2tree.Error
	var reason auth.Reason
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused), errors.As(err, &reason), errors.Is(err, mvcc.ErrCompacted), errors.Is(err, mvcc.ErrFutureRevision),
		errors.Is(err, mvcc.ErrKeyNotFound), errors.Is(err, mvcc.ErrLeaseNotFound), errors.Is(err, mvcc.ErrTooLarge), errors.Is(err, lease.ErrExists),
		membership.Refused(err), errors.Is(err, alarm.ErrNoSpace), errors.Is(err, alarm.ErrCorrupt):
		*res = Result{Err: err}
		return nil
	default:
		return err
	}
}

// Sweep does a slice of what compactions have left to do, and says whether more
// is left. It is called between batches.
func (m *Machine) Sweep() (more bool, err error) {
	more, err = m.w.SweepTombstones(sweepTombstonesMax)
	if err != nil {
		return false, fmt.Errorf("sweep tombstones: %w", err)
	}
	return more, nil
}

// Swept says whether compactions have left nothing to do.
func (m *Machine) Swept() bool { return m.w.Swept() }

// sweepTombstonesMax keeps a slice below 2 ms: a tombstone takes some 10 µs.
const sweepTombstonesMax = 128

// Flush writes all that was applied to the disk.
func (m *Machine) Flush() error { return m.db.Flush() }

// Close gives the machine's memory back; the store stays open.
func (m *Machine) Close() error { return m.b.Close() }

func (p position) append(dst []byte) []byte {
	for _, v := range [...]uint64{p.index, p.term, uint64(p.revision), uint64(p.compact), uint64(p.time), p.commands} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func decodePosition(b []byte) (p position, err error) {
	d := codec.NewReader(b)
	p.index, p.term = d.Uvarint(), d.Uvarint()
	p.revision, p.compact, p.time = int64(d.Uvarint()), int64(d.Uvarint()), kv.ClusterTime(d.Uvarint())
	p.commands = d.Uvarint()
	return p, damaged("position", d.Err())
}
