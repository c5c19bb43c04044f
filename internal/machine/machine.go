// Package machine is the deterministic state machine: it applies committed entries in batches and
// returns results.
//
// An entry is a header and a list of commands (docs/formats/entry.md). Each command is one case of
// a switch, runs in mvcc, v2tree, lease, membership, auth or alarm, and either changes the store as
// a whole or not at all. A run of entries becomes one storage batch, which also has the applied
// index, so that after a crash the store is exactly the state after some entry, and replay
// continues behind it: no entry is applied twice or skipped.
//
// Invariants: applying the same entries gives the same keys, history and position on every member,
// however they are grouped into batches (not the same bytes: the boundaries of the count index's
// blocks, and the times at which tombstones are swept, depend on the grouping; TestMetamorphic);
// the applied index and cluster time never go back (position.checkFollows).
//
// Apply, Sweep and Flush belong to one goroutine, the applier. Other goroutines may read keys and
// the applied index at the same time.
package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// position is the value of table s: the state's position in the log. Every batch writes it.
type position struct {
	index    uint64 // the last applied entry
	term     uint64 // its term
	revision int64
	compact  int64
	time     kv.ClusterTime
	// commands is the number of commands of the entry after index that are applied already: a large
	// batch ends within an entry.
	commands uint64
}

// errCorruptPosition is wrapped by the error about a position that no cairn has written.
var errCorruptPosition = errors.New("corrupt position")

var positionKey = []byte{byte(storage.TableSystem), 'p'}

// Machine is the state of one member.
type Machine struct {
	db        *storage.Store
	keys      *mvcc.Store
	members   *membership.Table
	auth      *auth.Table
	alarms    *alarm.Table
	migration *migration.Table
	w         *mvcc.Writer
	b         *storage.Batch
	buf       []byte
	v2        V2Counters
	// v2Command is the command that is being applied, if it is v2's.
	v2Command v2tree.Command

	batchBytes int64 // see LimitMemory

	entryTerm uint64 // of the entry that is being applied
	// onLeases gets leaseChanges, the changes of leases of the open batch; leasesReplaced is set
	// when a migration has replaced all of them. See OnLeases.
	onLeases       func(changes []lease.Change, replaced bool) (readable func())
	leaseChanges   []lease.Change
	leasesReplaced bool

	pos     position      // as of the last batch
	next    position      // as of the batch that is being made
	applied atomic.Uint64 // pos.index, for readers beside the applier
	term    atomic.Uint64 // pos.term, likewise
	time    atomic.Int64  // pos.time, likewise
	// changes has the configuration changes of the batches of this Apply, for raft.
	changes []*raftpb.ConfChangeV2

	// resultWanted is set while a command of this member's clients is applied.
	resultWanted bool
	// deferAbove is how many bytes of a range in a transaction are collected when it is applied; 0
	// means all. See DeferReads.
	deferAbove int
	// deferring is set when a result of the open batch lacks keys, which a compaction in the same
	// batch could remove.
	deferring bool
	deferred  sync.WaitGroup // functions that BeginDeferred has returned and that have not ended
	// results and entryResults are those of the open batch or, without one, of the last.
	results      []Result
	entryResults []EntryResults
	// malformed has what could not be decoded in the batches of this Apply.
	malformed []Malformed
	// installed is the index of the last snapshot installed since the process started: entries up
	// to it may still arrive.
	installed uint64
	// commands is how many commands the open batch has; restarted is set when one of them has
	// removed all keys.
	commands  int
	restarted bool

	shownMu   sync.Mutex // guards the fields below, for SnapshotMetadata
	shown     position
	shownConf *raftpb.ConfState
}

// Initialize writes the state of a new member, before the first entry. Index and term are the
// position of the initial membership, which all initial members derive alike; the founders are all
// voters. A member that joins begins at index 0, and its founders are the members that the cluster
// reported to it.
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
	m := &Machine{db: db, b: db.NewBatch(), batchBytes: batchBytesMax}
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
	if m.migration, err = migration.Open(db); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if m.keys, err = mvcc.Open(db, m.pos.revision, m.pos.compact); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	m.w = m.keys.NewWriter()
	m.showApplied(true)
	return m, nil
}

// loadPosition reads the position of the state.
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

// showApplied publishes the position and, where it has changed, the membership for readers other
// than the applier.
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

// OnLeases makes changed receive the changes of leases, before they can be read, and readable,
// which changed returns, be called once they can be, with the applied index of their entry. All
// leases may have changed if replaced is set. The applier calls both; changed must not keep the
// slice. OnLeases is called before the first entry is applied.
func (m *Machine) OnLeases(changed func(changes []lease.Change, replaced bool) (readable func())) {
	m.onLeases = changed
}

// changeLeases calls the function of OnLeases, if there is one.
func (m *Machine) changeLeases(changes []lease.Change, replaced bool) (readable func()) {
	if m.onLeases == nil || len(changes) == 0 && !replaced {
		return func() {}
	}
	return m.onLeases(changes, replaced)
}

// Keys returns the key space, for readers.
func (m *Machine) Keys() *mvcc.Store { return m.keys }

// Members returns the members as of the last applied entry, sorted by ID. The caller must not
// modify them.
func (m *Machine) Members() []membership.Member { return m.members.List() }

// Removed reports whether the member with the ID was removed from the cluster.
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

// ConfState returns the membership as of the applied index, in raft's form. A member that has not
// received its first snapshot knows the members, but not as of which index: for it the result is
// empty.
func (m *Machine) ConfState() *raftpb.ConfState {
	if m.AppliedIndex() == 0 {
		return &raftpb.ConfState{}
	}
	return m.members.ConfState()
}

// DurableIndex returns the applied index that is certainly on disk.
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

// Sweep does a slice of the work that compactions have left, and reports whether more is left. It
// is called between batches.
func (m *Machine) Sweep() (more bool, err error) {
	more, err = m.w.SweepTombstones(sweepTombstonesMax)
	if err != nil {
		return false, fmt.Errorf("sweep tombstones: %w", err)
	}
	return more, nil
}

// Swept reports whether Sweep has nothing to do.
func (m *Machine) Swept() bool { return m.w.Swept() }

// sweepTombstonesMax keeps a slice below 2 ms: a tombstone takes some 10 µs.
const sweepTombstonesMax = 128

// Flush makes everything that was applied durable.
func (m *Machine) Flush() error { return m.db.Flush() }

// Close releases the machine's memory; the store stays open.
func (m *Machine) Close() error {
	m.deferred.Wait()
	return m.b.Close()
}

func (p position) append(dst []byte) []byte {
	for _, v := range [...]uint64{p.index, p.term, uint64(p.revision), uint64(p.compact), uint64(p.time), p.commands} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// checkFollows checks that no part of a position is before that of the batch before it.
func (p position) checkFollows(last position) {
	if p.index < last.index || p.term < last.term || p.revision < last.revision || p.compact < last.compact || p.time < last.time {
		invariant.Violated("position goes from %+v back to %+v", last, p)
	}
}

func decodePosition(b []byte) (p position, err error) {
	d := codec.NewReader(b)
	p.index, p.term = d.Uvarint(), d.Uvarint()
	p.revision, p.compact, p.time = int64(d.Uvarint()), int64(d.Uvarint()), kv.ClusterTime(d.Uvarint())
	p.commands = d.Uvarint()
	if err := d.Err(); err != nil {
		return p, fmt.Errorf("%w: %x: %w", errCorruptPosition, b, err)
	}
	return p, nil
}
