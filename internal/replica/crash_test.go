package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/raftlog"
	"cairn/internal/storage"
)

// fault is a mistake that a caller of Replica, or one of its layers, could make. The crash test
// must detect each.
type fault int

const (
	noFault fault = iota
	// faultEarlyAck acknowledges proposals when their append is handed out, before it is done.
	faultEarlyAck
	// faultNoSync appends without fsync.
	faultNoSync
	// faultLateIndex writes the applied index outside of the batch with the data.
	faultLateIndex
	// faultEagerTruncate truncates the log at the applied index instead of the durable one.
	faultEagerTruncate
)

// crash is the disk after a power failure at some sync, with what had been promised by then.
type crash struct {
	fs       storage.CrashableFS
	acked    uint64 // number of batches
	proposed uint64
	time     kv.ClusterTime // of the last acknowledged entry
}

// scheduler drives one replica, single-threaded: it does the work of the three roles in a random
// legal order. Legal means that each role's work is done in order, and a response is stepped after
// the work that carried it.
type scheduler struct {
	rng   *rand.Rand
	fault fault

	fs                *watchedFS
	logStore, stateDB *storage.Store
	log               *raftlog.Log
	machine           *machine.Machine
	r                 *Replica
	now               time.Duration

	appends, applies     []*raftpb.Message
	fromLog, fromApplier []*raftpb.Message // responses

	batches [][]step // proposed; batch number n is at n-1
	pending map[uint64][]*machine.Result

	mu      sync.Mutex // guards the fields below: syncs also come from pebble's goroutines
	acked   uint64     // batches applied and acknowledged, including those before restarts
	ackTime kv.ClusterTime
	// promised is the number of batches that clients consider done: acked, unless a fault
	// acknowledges more.
	promised uint64
	diskRNG  *rand.Rand
	crashes  []crash
	record   bool
}

func storeOptions(fs storage.FS) storage.Options {
	return storage.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 512 << 10}
}

// newDisk returns a disk with the durable stores of a new sole member.
func newDisk() (fs storage.CrashableFS, err error) {
	fs = storage.NewCrashableFS()
	state, err := storage.OpenState("state", storeOptions(fs))
	if err != nil {
		return fs, err
	}
	logStore, err := storage.OpenLog("log", storeOptions(fs))
	if err != nil {
		return fs, err
	}
	err = errors.Join(machine.Initialize(state, 1, 1, []membership.Member{{ID: 1}}), raftlog.Initialize(logStore, 1, 1),
		state.Close(), logStore.Close())
	if err != nil {
		return fs, err
	}
	root, err := fs.OpenDir("/") // the directories of the stores
	if err != nil {
		return fs, err
	}
	return fs, errors.Join(root.Sync(), root.Close())
}

// open starts a replica from the stores of a disk.
func open(fs storage.CrashableFS, rng *rand.Rand, batches [][]step) (*scheduler, error) {
	s := &scheduler{rng: rng, batches: batches, pending: map[uint64][]*machine.Result{}}
	s.acked, s.promised = uint64(len(batches)), uint64(len(batches))
	s.diskRNG = rand.New(rand.NewPCG(rng.Uint64(), 1))
	s.fs = &watchedFS{CrashableFS: fs, onSync: s.onSync}
	var err error
	if s.stateDB, err = storage.OpenState("state", storeOptions(s.fs)); err != nil {
		return nil, err
	}
	if s.logStore, err = storage.OpenLog("log", storeOptions(s.fs)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.machine, err = machine.Open(s.stateDB); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.log, err = raftlog.Open(s.logStore, s.machine.AppliedIndex(), s.machine.ConfState()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	quiet := &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}
	if s.r, err = New(Config{ID: 1, ElectionTicks: 10, Logger: quiet, FS: s.fs, ReceiveDir: "receive"}, s.log, s.machine); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, s.r.Campaign()
}

func (s *scheduler) close() (err error) {
	if s.machine != nil {
		err = s.machine.Close()
	}
	for _, db := range []*storage.Store{s.stateDB, s.logStore} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// onSync records the disk as a crash now would leave it.
func (s *scheduler) onSync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.record {
		return
	}
	// Read what was promised first: it must be on the disk, which is cloned later.
	c := crash{acked: s.promised, proposed: uint64(len(s.batches)), time: s.ackTime}
	c.fs = s.fs.Crash([]int{0, 0, 50, 100}[s.diskRNG.IntN(4)], s.diskRNG)
	s.crashes = append(s.crashes, c)
}

// take stores the results of an entry.
func (s *scheduler) take(e machine.EntryResults) {
	if e.Batch <= s.acked {
		return // proposed before a restart
	}
	out := make([]*machine.Result, len(e.Results))
	for i := range out {
		res := e.Results[i]
		out[i] = &res
	}
	s.pending[e.Batch] = out
}

func (s *scheduler) turn() error {
	s.now += time.Duration(s.rng.IntN(1000)) * time.Microsecond
	switch n := s.rng.IntN(24); {
	case n < 4:
		return s.propose()
	case n < 8:
		s.work()
		return nil
	case n < 12:
		return s.doAppends()
	case n < 16:
		return s.doApplies()
	case n < 21:
		return s.stepSome()
	case n == 21:
		s.r.Tick()
		return nil
	case n == 22:
		_, err := s.machine.Sweep()
		return err
	default:
		return s.keepHouse()
	}
}

func (s *scheduler) propose() error {
	if !s.r.Leads() || len(s.batches) > 0 && uint64(len(s.batches)) > s.acked+8 {
		return nil
	}
	n := uint64(len(s.batches) + 1)
	steps := drawBatch(s.rng, n, s.machine.Keys().Head().Revision)
	commands := make([]Command, len(steps))
	for i := range steps {
		commands[i] = steps[i].command
	}
	s.mu.Lock()
	s.batches = append(s.batches, steps)
	s.mu.Unlock()
	return s.r.Propose(s.now, n, commands)
}

func (s *scheduler) work() {
	w, ok := s.r.Work(s.now)
	if !ok {
		return
	}
	if w.Append != nil {
		s.appends = append(s.appends, w.Append)
		if s.fault == faultEarlyAck {
			s.mu.Lock()
			s.promised = uint64(len(s.batches))
			s.mu.Unlock()
		}
	}
	if w.Apply != nil {
		s.applies = append(s.applies, w.Apply)
	}
}

func (s *scheduler) doAppends() error {
	if len(s.appends) == 0 {
		return nil
	}
	n := 1 + s.rng.IntN(len(s.appends))
	msgs := s.appends[:n:n]
	s.appends = s.appends[n:]
	given := msgs
	if s.fault == faultNoSync {
		given = nil
		for _, m := range msgs {
			given = append(given, &raftpb.Message{Type: m.Type, Entries: m.Entries, Term: m.Term, Vote: m.Vote, Commit: m.Commit})
		}
	}
	if _, _, err := s.r.Append(given); err != nil {
		return err
	}
	s.fromLog = append(s.fromLog, responsesOf(msgs)...)
	return nil
}

func (s *scheduler) doApplies() error {
	if len(s.applies) == 0 {
		return nil
	}
	n := 1 + s.rng.IntN(len(s.applies))
	msgs := s.applies[:n:n]
	s.applies = s.applies[n:]
	batch, applied, err := s.r.Apply(msgs)
	if err != nil {
		return err
	}
	for _, e := range batch.Results {
		s.take(e)
	}
	// a sole member's configuration does not change
	s.fromApplier = append(s.fromApplier, applied.Responses...)
	if s.rng.IntN(2) == 0 {
		s.r.ReleaseApplied()
	}
	if s.fault == faultLateIndex {
		if err := s.spoilIndex(); err != nil {
			return err
		}
	}
	return s.acknowledge()
}

// spoilIndex leaves the store as it would be between the data and a later write of the applied
// index.
func (s *scheduler) spoilIndex() error {
	key := []byte{byte(storage.TableSystem), 'p'}
	v, err := s.stateDB.Get(key, nil)
	if err != nil {
		return err
	}
	index, n := binary.Uvarint(v)
	b := s.stateDB.NewBatch()
	b.Set(key, append(binary.AppendUvarint(nil, index-1), v[n:]...))
	return errors.Join(b.Commit(false), b.Close())
}

// acknowledge acknowledges applied batches, and checks their results.
func (s *scheduler) acknowledge() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil
	}
	m := replay(s.batches, uint64(len(s.batches)))
	for n := s.acked + 1; ; n++ {
		results, ok := s.pending[n]
		if !ok {
			break
		}
		if err := m.checkResults(n, s.batches[n-1], results); err != nil {
			return err
		}
		delete(s.pending, n)
		s.acked, s.ackTime = n, s.machine.ClusterTime()
		s.promised = max(s.promised, n)
	}
	if len(s.pending) > 0 {
		return fmt.Errorf("%d batches applied out of order after batch %d", len(s.pending), s.acked)
	}
	return nil
}

func (s *scheduler) stepSome() error {
	queue := &s.fromLog
	if s.rng.IntN(2) == 0 {
		queue = &s.fromApplier
	}
	for n := s.rng.IntN(len(*queue) + 1); n > 0; n-- {
		m := (*queue)[0]
		*queue = (*queue)[1:]
		if err := s.r.Step(s.now, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *scheduler) keepHouse() error {
	if s.rng.IntN(2) == 0 {
		return s.machine.Flush()
	}
	if s.fault == faultEagerTruncate {
		return s.log.Truncate(s.machine.AppliedIndex())
	}
	return s.r.Truncate(keepEntries(s.rng.IntN(5)))
}

// drain does work until there is none.
func (s *scheduler) drain() error {
	for range 10_000 {
		s.work()
		idle := len(s.appends)+len(s.applies)+len(s.fromLog)+len(s.fromApplier) == 0
		if err := errors.Join(s.doAppends(), s.doApplies(), s.stepSome(), s.stepSome()); err != nil {
			return err
		}
		if idle && !s.r.raw.HasReady() {
			return nil
		}
	}
	return errors.New("the replica's work never ends")
}

// recover opens the disk after a crash, replays the log, and compares the result with the model. It
// returns the number of batches in the store.
func (c *crash) recover(rng *rand.Rand, batches [][]step) (survived uint64, err error) {
	s, err := open(c.fs, rng, nil)
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	check := func(when string) error {
		if survived, err = batchesIn(s.machine.Keys()); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if survived > c.proposed {
			return fmt.Errorf("%s: has batch %d, proposed were %d", when, survived, c.proposed)
		}
		if err := replay(batches, survived).compare(s.machine.Keys()); err != nil {
			return fmt.Errorf("%s, %d batches: %w", when, survived, err)
		}
		return nil
	}
	// The state store alone must be the state after some entry already.
	if err := check("before replay"); err != nil {
		return survived, err
	}
	s.batches = batches
	s.acked = survived
	if err := s.drain(); err != nil {
		return survived, fmt.Errorf("replay: %w", err)
	}
	if err := check("after replay"); err != nil {
		return survived, err
	}
	last, _ := s.log.LastIndex()
	switch {
	case survived < c.acked:
		return survived, fmt.Errorf("batch %d was acknowledged, %d are there", c.acked, survived)
	case s.machine.AppliedIndex() != last:
		return survived, fmt.Errorf("applied entry %d of %d", s.machine.AppliedIndex(), last)
	case s.machine.ClusterTime() < c.time:
		return survived, fmt.Errorf("cluster time %d, acknowledged at %d", s.machine.ClusterTime(), c.time)
	}
	return survived, nil
}

// crashRun runs one seed: some runs of the replica, each ended by one of its possible crashes, all
// of which are checked.
func crashRun(seed uint64, f fault, lives, turns int) (checked int, err error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	fs, err := newDisk()
	if err != nil {
		return 0, err
	}
	var batches [][]step
	for life := range lives {
		s, err := open(fs, rng, batches)
		if err != nil {
			return checked, fmt.Errorf("life %d: open: %w", life, err)
		}
		s.fault, s.now = f, time.Duration(rng.IntN(1e9))
		s.mu.Lock() // pebble's goroutines sync already
		s.ackTime, s.record = s.machine.ClusterTime(), true
		s.mu.Unlock()
		for turn := 0; turn < turns && err == nil; turn++ {
			err = s.turn()
		}
		s.mu.Lock()
		s.record = false
		crashes := s.crashes
		s.mu.Unlock()
		if err = errors.Join(err, s.close()); err != nil {
			return checked, fmt.Errorf("life %d: %w", life, err)
		}
		next := rng.IntN(max(1, len(crashes)))
		for i := range crashes {
			c := &crashes[i]
			// Recovery changes the disk: the next run gets a copy.
			disk := c.fs.Crash(100, rng)
			survived, err := c.recover(rng, s.batches)
			if err != nil {
				return checked, fmt.Errorf("life %d, crash %d of %d, %d acknowledged of %d: %w", life, i, len(crashes), c.acked, c.proposed, err)
			}
			checked++
			if i == next {
				fs, batches = disk, s.batches[:survived:survived]
			}
		}
	}
	return checked, nil
}

// TestCrashAtEverySync cuts the power before and after every sync that a replica makes under random
// load, and checks that no acknowledged batch is lost, none is partly there, and none is applied
// twice. CAIRN_CRASH_SEEDS sets the number of seeds and CAIRN_CRASH_SEED a single one.
func TestCrashAtEverySync(t *testing.T) {
	from, seeds := uint64(1), uint64(5)
	if underRace {
		seeds = 1
	}
	if n, err := strconv.ParseUint(os.Getenv("CAIRN_CRASH_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("CAIRN_CRASH_SEED"), 10, 64); err == nil {
		from, seeds = n, 1
	}
	total := 0
	for seed := from; seed < from+seeds; seed++ {
		n, err := crashRun(seed, noFault, 4, 150)
		total += n
		if err != nil {
			t.Errorf("%v\nreplay: CAIRN_CRASH_SEED=%d go test -run TestCrashAtEverySync ./internal/replica", err, seed)
		}
	}
	t.Logf("%d crashes checked", total)
	if total < int(seeds)*20 {
		t.Errorf("only %d crashes were checked", total)
	}
}

// TestCrashTestFindsFaults plants each fault; some seed must detect it.
func TestCrashTestFindsFaults(t *testing.T) {
	if underRace {
		t.Skip("the race detector finds none of them sooner")
	}
	for name, f := range map[string]fault{
		"acknowledged before the append":     faultEarlyAck,
		"append without sync":                faultNoSync,
		"applied index outside of the batch": faultLateIndex,
		"truncation at the applied index":    faultEagerTruncate,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 20; seed++ {
				if _, err := crashRun(seed, f, 2, 150); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("no seed has found the fault")
		})
	}
}
