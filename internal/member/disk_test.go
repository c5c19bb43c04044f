package member

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestFailingDisk: a failed fsync of the log stops the member: nothing is acknowledged afterwards,
// and everything acknowledged survives.
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
	_ = m.Close() // may return the disk's error

	m = start(t, testConfig(power))
	defer closeMember(t, m)
	for i := range 10 {
		expect(t, m, name("k", i), "x")
	}
}

// TestStalledDisk: requests time out while the disk hangs, and the member serves again when it
// recovers. It takes real time: a held lock stops the clock of synctest.
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
	// The goroutine that becomes the log writer does the append, and blocks with the disk. The
	// other requests must time out in time.
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
				t.Errorf("put returned %v after %v, want %v after %v", err, took, ErrTimeout, m.requestTimeout())
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
	expect(t, m, "first", "x") // timed out, but it is in the log
}

// TestFlushAndTruncate: after SnapshotCount entries the state is flushed, and the log before it is
// removed.
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
