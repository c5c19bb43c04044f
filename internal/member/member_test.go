package member

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

func TestRestart(t *testing.T) {
	d := newDisk(t)
	want := int64(1)
	for life := range 4 {
		m := start(t, testConfig(d))
		if got := m.Keys().Head().Revision; got != want {
			t.Fatalf("start %d begins at revision %d, want %d", life, got, want)
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
		// After a proper Close the state is complete without the log.
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

// TestConcurrentClients: each write gets its own revision, without gaps, and a client reads its own
// writes.
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
