package member

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/member/compactor"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// compactions runs auto-compaction over a member that gets 60 writes in each period, and returns
// the compact revision after each of the periods. They are as short as the test allows: pebble has
// timers of 100 ms, so that an hour of the test's clock takes a third of a second, and several
// under the race detector.
func compactions(t *testing.T, a compactor.Policy, periods int, period time.Duration) (after []int64) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(newDisk(t))
		cfg.TickInterval = 5 * time.Second // shorter ones take longer
		m := start(t, cfg)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			m.RunAutoCompaction(ctx, a)
			close(ended)
		}()
		for range periods {
			for range 60 {
				mustPut(t, m, "k", "v")
				time.Sleep(period / 60)
			}
			after = append(after, m.Keys().Head().CompactRevision)
		}
		cancel()
		<-ended
		closeMember(t, m)
	})
	return after
}

func TestRunAutoCompaction(t *testing.T) {
	t.Run("periodic", func(t *testing.T) {
		const retention = 10 * time.Minute
		after := compactions(t, compactor.Policy{Retention: retention}, 4, retention)
		// Revisions of the last period are kept, those older than two periods are not.
		for i, compacted := range after {
			written := int64(1 + 60*(i+1))
			if compacted > written-59 || compacted < written-121 && i > 0 {
				t.Errorf("after %d periods at revision %d compacted at %d", i+1, written, compacted)
			}
		}
		if after[0] > 2 || after[3] < after[2]+55 {
			t.Errorf("compacted at %v", after)
		}
	})
	t.Run("revisions", func(t *testing.T) {
		for i, compacted := range compactions(t, compactor.Policy{Revisions: 30}, 2, time.Hour) {
			written := int64(1 + 60*(i+1))
			if compacted > written-30 || compacted < written-30-6 {
				t.Errorf("after %d periods at revision %d compacted at %d", i+1, written, compacted)
			}
		}
	})
	t.Run("off", func(t *testing.T) {
		if after := compactions(t, compactor.Policy{}, 1, 10*time.Minute); after[0] != 0 {
			t.Errorf("compacted at %d", after[0])
		}
	})
}

// TestAutoCompactionStops with its member.
func TestAutoCompactionStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, testConfig(newDisk(t)))
		ended := make(chan struct{})
		go func() {
			m.RunAutoCompaction(context.Background(), compactor.Policy{Revisions: 1})
			close(ended)
		}()
		synctest.Wait()
		closeMember(t, m)
		<-ended
	})
}

// TestWaitSwept: when it returns, the tombstones that the compaction passed are removed.
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
	// The events of the compacted revision itself stay: a watch may start there.
	if c, x, r := rows(storage.TableCurrent), rows(storage.TableTombstones), rows(storage.TableRevisions); c+x != 0 || r != 500 {
		t.Errorf("%d current rows, %d tombstones, %d events after the sweep", c, x, r)
	}
	if err := m.WaitSwept(ctx); err != nil {
		t.Errorf("nothing to sweep: %v", err)
	}
}
