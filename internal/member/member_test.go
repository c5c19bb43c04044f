package member

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

func TestRestart(t *testing.T) {
	d := newDisk(t)
	want := int64(1)
	for life := range 4 {
		m := start(t, testConfig(d))
		if got := m.Keys().Head().Revision; got != want {
			t.Fatalf("life %d begins at revision %d, want %d", life, got, want)
		}
		for i := range 20 {
			want++
			if got := mustPut(t, m, name("k", i), name(life)); got != want {
				t.Fatalf("life %d, put %d: revision %d, want %d", life, i, got, want)
			}
			expect(t, m, name("k", i), name(life))
		}
		if m.Leader() != 1 || m.ID() != 1 || m.Err() != nil {
			t.Errorf("leader %x, error %v", m.Leader(), m.Err())
		}
		if err := m.Healthy(context.Background()); err != nil {
			t.Errorf("not healthy: %v", err)
		}
		closeMember(t, m)
		// Closed in good order the state is whole, and the log not needed.
		if applied, _ := m.RaftStatus(); applied < uint64(want) {
			t.Errorf("applied index %d at revision %d", applied, want)
		}
	}
}

// TestCrashKeepsAcknowledged cuts the power, without a Close, at random moments under
// concurrent writes.
func TestCrashKeepsAcknowledged(t *testing.T) {
	d := newDisk(t)
	rng := rand.New(rand.NewPCG(5, 5))
	var mu sync.Mutex
	acked := map[string]string{}
	for life := range 6 {
		m := start(t, testConfig(d))
		have := keys(t, m)
		for k, v := range acked {
			if have[k] < v {
				t.Fatalf("life %d: %s is %q, acknowledged was %q", life, k, have[k], v)
			}
		}
		var wg sync.WaitGroup
		cut := make(chan storage.CrashableFS, 1)
		var promised map[string]string
		after := int64(20 + rng.IntN(100))
		var n atomic.Int64
		for c := range 6 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 40 {
					k, v := name("client", c), name(life, "/", 1000+i)
					if _, err := put(m, k, v); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acked[k] = v
					if n.Add(1) == after {
						promised = make(map[string]string)
						for k, v := range acked {
							promised[k] = v
						}
						cut <- d.Crash(rng.IntN(101), rng)
					}
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		closeMember(t, m)
		d, acked = &disk{CrashableFS: <-cut}, promised
	}
}

// TestConcurrentClients: each write gets its own revision, without gaps, and a client reads
// what it wrote.
func TestConcurrentClients(t *testing.T) {
	const clients, writes = 12, 60
	cfg := testConfig(newDisk(t))
	cfg.SnapshotCount = 50
	m := start(t, cfg)
	defer closeMember(t, m)
	var mu sync.Mutex
	var revisions []int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range writes {
				rev, err := put(m, name("c", c), name(i))
				if err != nil {
					t.Error(err)
					return
				}
				if err := m.WaitLinearizable(context.Background()); err != nil {
					t.Error(err)
					return
				}
				var got mvcc.Collector
				sum, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte(name("c", c))}}, &got)
				if err != nil || sum.Revision < rev || len(got.Keys) != 1 || string(got.Keys[0].Value) != name(i) {
					t.Errorf("client %d wrote %d at %d, read %v at %d, %v", c, i, rev, got.Keys, sum.Revision, err)
					return
				}
				if i%20 == 19 {
					_, err := m.Propose(context.Background(), machine.KindCompact, machine.AppendCompact(nil, rev))
					if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				revisions = append(revisions, rev)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	slices.Sort(revisions)
	for i, rev := range revisions {
		if rev != int64(i+2) {
			t.Fatalf("write %d has revision %d", i, rev)
		}
	}
	if len(revisions) != clients*writes {
		t.Errorf("%d writes of %d", len(revisions), clients*writes)
	}
}

// TestClose: whatever is under way when the member closes is done, or answered with
// ErrStopped; and so is what comes later.
func TestClose(t *testing.T) {
	d := newDisk(t)
	m := start(t, testConfig(d))
	var wg sync.WaitGroup
	last := make([]int, 8)
	var writes atomic.Int64
	for c := range last {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 1; ; i++ {
				_, err := put(m, name("c", c), name(i))
				if errors.Is(err, ErrStopped) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				last[c] = i
				writes.Add(1)
			}
		}()
	}
	for writes.Load() < 50 {
		time.Sleep(time.Millisecond)
	}
	closeMember(t, m)
	wg.Wait()
	ctx := context.Background()
	if _, err := put(m, "late", "x"); !errors.Is(err, ErrStopped) {
		t.Errorf("put after Close: %v", err)
	}
	if err := m.WaitLinearizable(ctx); !errors.Is(err, ErrStopped) {
		t.Errorf("linearizable read after Close: %v", err)
	}
	if err := m.WaitSwept(ctx); !errors.Is(err, ErrStopped) {
		t.Errorf("wait for a sweep after Close: %v", err)
	}
	if m.Err() != nil {
		t.Errorf("closing made the member fail: %v", m.Err())
	}
	m = start(t, testConfig(d))
	defer closeMember(t, m)
	for c, n := range last {
		// One more may have been applied when its client was told that the member stops.
		if v := keys(t, m)[name("c", c)]; v != name(n) && v != name(n+1) && (n > 0 || v != "") {
			t.Errorf("client %d: %q is there, %d was acknowledged", c, v, n)
		}
	}
	if _, ok := keys(t, m)["late"]; ok {
		t.Error("a refused write is there")
	}
}

func TestTooLarge(t *testing.T) {
	cfg := testConfig(newDisk(t))
	cfg.RequestBytesMax = 100
	m := start(t, cfg)
	defer closeMember(t, m)
	ctx := context.Background()
	if _, err := m.Propose(ctx, machine.KindPut, make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("101 bytes: %v", err)
	}
	payload := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k"), Value: make([]byte, 100-4)})
	if _, err := m.Propose(ctx, machine.KindPut, payload); len(payload) != 100 || err != nil {
		t.Errorf("%d bytes: %v", len(payload), err)
	}
	for size, want := range map[int]error{10 << 20: nil, v2RequestBytesMax: ErrTooLarge} {
		set := v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/k"), Value: make([]byte, size)}
		if _, err := m.Propose(ctx, machine.KindV2, set.Append(nil)); !errors.Is(err, want) {
			t.Errorf("%d bytes of v2: %v, want %v", size, err, want)
		}
	}
}

// TestRefusals: what the state machine refuses comes back as the error.
func TestRefusals(t *testing.T) {
	m := start(t, testConfig(newDisk(t)))
	defer closeMember(t, m)
	ctx := context.Background()
	keep := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k"), IgnoreValue: true})
	if _, err := m.Propose(ctx, machine.KindPut, keep); !errors.Is(err, mvcc.ErrKeyNotFound) {
		t.Errorf("put: %v", err)
	}
	if _, err := m.Propose(ctx, machine.KindCompact, machine.AppendCompact(nil, 9)); !errors.Is(err, mvcc.ErrFutureRevision) {
		t.Errorf("compact: %v", err)
	}
	var refused *v2tree.Error
	missing := (&v2tree.Command{Kind: v2tree.KindUpdate, Path: []byte("/k")}).Append(nil)
	if _, err := m.Propose(ctx, machine.KindV2, missing); !errors.As(err, &refused) {
		t.Errorf("v2 update: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := putContext(cancelled, m, "k", "v"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled put: %v", err)
	}
}

// TestWaitSwept: when it returns, the tombstones that the compaction passed are gone.
func TestWaitSwept(t *testing.T) {
	m := start(t, testConfig(newDisk(t)))
	defer closeMember(t, m)
	ctx := context.Background()
	for i := range 500 {
		mustPut(t, m, name("k", i), "x")
	}
	all := kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	res, err := m.Propose(ctx, machine.KindDelete, machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: all}))
	if err != nil || res.Delete.Deleted != 500 {
		t.Fatal(res, err)
	}
	rows := func(table storage.Table) (n int) {
		it := m.Keys().Reading().Cursor([]byte{byte(table)}, []byte{byte(table) + 1})
		for ok := it.First(); ok; ok = it.Next() {
			n++
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if c, x := rows(storage.TableCurrent), rows(storage.TableTombstones); c != 500 || x != 500 {
		t.Errorf("%d current rows and %d tombstones before the compaction", c, x)
	}
	if _, err := m.Propose(ctx, machine.KindCompact, machine.AppendCompact(nil, res.Revision)); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitSwept(ctx); err != nil {
		t.Fatal(err)
	}
	// The events of the compacted revision itself stay: a watch may begin there.
	if c, x, r := rows(storage.TableCurrent), rows(storage.TableTombstones), rows(storage.TableRevisions); c+x != 0 || r != 500 {
		t.Errorf("%d current rows, %d tombstones, %d events after the sweep", c, x, r)
	}
	if err := m.WaitSwept(ctx); err != nil {
		t.Errorf("nothing to sweep: %v", err)
	}
}

// TestFailingDisk: a failed fsync of the log stops the member: nothing is acknowledged
// any more, and what was acknowledged is there afterwards.
func TestFailingDisk(t *testing.T) {
	broken := errors.New("disk is broken")
	d := newDisk(t)
	m := start(t, testConfig(d))
	for i := range 10 {
		mustPut(t, m, name("k", i), "x")
	}
	fail := func() error { return broken }
	d.onSync.Store(&fail)
	var wg sync.WaitGroup
	for c := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if rev, err := put(m, name("lost", c), "x"); err == nil {
				t.Errorf("acknowledged revision %d without a disk", rev)
			} else if !errors.Is(err, ErrStopped) {
				t.Errorf("put: %v", err)
			}
		}()
	}
	<-m.Failed()
	wg.Wait()
	if err := m.Err(); !errors.Is(err, broken) {
		t.Logf("the member failed with: %v", err)
	}
	if err := m.Healthy(context.Background()); err == nil {
		t.Error("a failed member is healthy")
	}
	if _, err := put(m, "later", "x"); !errors.Is(err, ErrStopped) {
		t.Errorf("put after the failure: %v", err)
	}
	power := d.Crash(0, rand.New(rand.NewPCG(1, 1)))
	d.onSync.Store(nil)
	_ = m.Close() // says that the disk is broken, or not

	m = start(t, testConfig(power))
	defer closeMember(t, m)
	for i := range 10 {
		expect(t, m, name("k", i), "x")
	}
}

// TestStalledDisk: requests time out while the disk hangs, and the member serves again when
// it comes back. It takes real time: a held lock stops the clock of synctest.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	cfg := testConfig(d)
	cfg.TickInterval = 10 * time.Millisecond
	m := start(t, cfg)
	defer closeMember(t, m)
	mustPut(t, m, "before", "x")
	stalled, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stall := func() error {
		once.Do(func() { close(stalled) })
		<-resume
		return nil
	}
	d.onSync.Store(&stall)
	began := time.Now()
	// The goroutine that finds the log writer free does the append, and blocks with the disk; it
	// is the others that must get an answer in time.
	first := make(chan error, 1)
	go func() {
		_, err := put(m, "first", "x")
		first <- err
	}()
	<-stalled
	var wg sync.WaitGroup
	for c := range 5 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := put(m, name("k", c), "x")
			if took := time.Since(began); !errors.Is(err, ErrTimeout) || took < m.requestTimeout() {
				t.Errorf("put answered %v after %v, want %v after %v", err, took, ErrTimeout, m.requestTimeout())
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := putContext(ctx, m, "impatient", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put with a deadline: %v", err)
	}
	wg.Wait()
	d.onSync.Store(nil)
	close(resume)
	if err := <-first; err != nil && !errors.Is(err, ErrTimeout) {
		t.Errorf("the write that met the stall: %v", err)
	}
	mustPut(t, m, "after", "x")
	expect(t, m, "before", "x")
	expect(t, m, "after", "x")
	expect(t, m, "first", "x") // timed out, but the log has it
}

// TestNoLeader: without a quorum nothing is served, and every request gets its answer.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{CrashableFS: storage.NewCrashableFS()}
		if err := Initialize(d, "member", []membership.Member{{ID: 1}, {ID: 2}}); err != nil {
			t.Fatal(err)
		}
		m, err := Start(testConfig(d))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		began := time.Now()
		inTime := func(what string, err error) {
			took := time.Since(began)
			if !errors.Is(err, ErrTimeout) || took < m.requestTimeout() || took > m.requestTimeout()+time.Second {
				t.Errorf("%s answered %v after %v, want %v after %v", what, err, took, ErrTimeout, m.requestTimeout())
			}
		}
		for range 3 {
			wg.Add(2)
			go func() {
				defer wg.Done()
				_, err := put(m, "k", "x")
				inTime("put", err)
			}()
			go func() {
				defer wg.Done()
				inTime("linearizable read", m.WaitLinearizable(context.Background()))
			}()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := m.WaitLinearizable(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read with a deadline: %v", err)
		}
		wg.Wait()
		select {
		case <-m.Ready():
			t.Error("ready without a leader")
		default:
		}
		if err := m.Healthy(context.Background()); err == nil || m.Leader() != 0 {
			t.Errorf("healthy without a leader: %v, %x", err, m.Leader())
		}
		// Closing answers what still waits.
		late := make(chan error, 1)
		go func() {
			_, err := put(m, "k", "x")
			late <- err
		}()
		synctest.Wait()
		closeMember(t, m)
		if err := <-late; !errors.Is(err, ErrStopped) {
			t.Errorf("put during Close: %v", err)
		}
	})
}

// TestFlushAndTruncate: after SnapshotCount entries the state is flushed, and the log
// before it goes.
func TestFlushAndTruncate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(newDisk(t))
		cfg.SnapshotCount = 20
		m := start(t, cfg)
		for i := range 100 {
			mustPut(t, m, name("k", i), "x")
		}
		synctest.Wait()
		durable, err := m.machine.DurableIndex()
		if err != nil || durable < 60 {
			t.Errorf("durable index %d, %v", durable, err)
		}
		entries := 0
		it := m.logStore.NewIter([]byte{'e'}, []byte{'f'})
		for ok := it.First(); ok; ok = it.Next() {
			entries++
		}
		if err := it.Close(); err != nil || entries > 50 {
			t.Errorf("the log has %d entries, %v", entries, err)
		}
		closeMember(t, m)
	})
}

// TestExpiry: the leader ends v2's nodes when their time has come; a restart does not
// give them a new life.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		m := start(t, testConfig(d))
		c := v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/ttl"), Value: []byte("x"), HasTTL: true, TTL: 10 * time.Second}
		if _, err := m.Propose(context.Background(), machine.KindV2, c.Append(nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		mustPut(t, m, "tick", "x") // carries the cluster time
		closeMember(t, m)
		time.Sleep(time.Hour) // nobody leads, and the cluster's time stands still

		m = start(t, testConfig(d))
		expect(t, m, "/ttl", "x")
		time.Sleep(3 * time.Second)
		expect(t, m, "/ttl", "x")
		time.Sleep(1500 * time.Millisecond)
		if _, ok := keys(t, m)["/ttl"]; ok {
			t.Error("the key outlived its TTL")
		}
		closeMember(t, m)
	})
}
