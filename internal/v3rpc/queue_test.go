package v3rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
)

func (m *localStore) delete(t testing.TB, key string) {
	t.Helper()
	m.change(t, func(w *mvcc.Writer) error {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}})
		return err
	})
}

func (m *localStore) server() *server {
	return &server{member: m.member(), meters: metrics.New(1), cfg: Config{TxnOpsMax: 128}, turnWrites: make(chan struct{}, turnWritesMax), queues: queues{queues: map[string]*queue{}}}
}

// take puts the key of a turn.
func (m *localStore) take(t testing.TB, key string) *turn {
	t.Helper()
	m.put(t, key, nil)
	return &turn{prefix: []byte("q/"), key: []byte(key), created: m.keys.Head().Revision}
}

// TestManyWaiters has thousands of calls wait for one lock. The queue is read once for all of them,
// each step wakes only the next one, and nothing is left when they have ended.
func TestManyWaiters(t *testing.T) {
	const waiters = 5000
	m := newLocalStore(t, watch.Limits{})
	s := m.server()
	owner := m.take(t, "q/owner")
	if err := s.await(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	turns, woken := make([]*turn, waiters), make(chan int)
	var held []*queue
	for i := range turns {
		turns[i] = m.take(t, fmt.Sprintf("q/%d", i))
		q := s.enter(turns[i].prefix)
		held = append(held, q)
		go func() {
			if err := q.wait(ctx, turns[i]); err == nil {
				woken <- i
			} else {
				woken <- -1
			}
		}()
	}
	reads := m.reads.Load()
	next := "q/owner"
	for i := range waiters / 2 {
		m.delete(t, next)
		if got := <-woken; got != i {
			t.Fatalf("the deletion of %s woke waiter %d, want %d", next, got, i)
		}
		next = fmt.Sprintf("q/%d", i)
	}
	if more := m.reads.Load() - reads; more > 5 {
		t.Errorf("%d steps of the queue read the store %d times, want none after the first", waiters/2, more)
	}
	cancel()
	for range waiters - waiters/2 {
		if got := <-woken; got != -1 {
			t.Fatalf("waiter %d has its turn", got)
		}
	}
	for _, q := range held {
		s.leaveQueue(q)
	}
	if len(s.queues.queues) != 0 || len(held[0].waiters) != 0 {
		t.Errorf("%d queues and %d waiters are left behind", len(s.queues.queues), len(held[0].waiters))
	}
}

// TestWaitersInTurn creates, cancels and deletes turns at random: a waiter's wait ends when no
// earlier key is left or its own was deleted, and at the latest when the queue is empty.
func TestWaitersInTurn(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	s, r := m.server(), rand.New(rand.NewPCG(1, 2))
	exists := map[string]int64{}
	ended := make(chan error)
	running := 0
	for i := range 1500 {
		switch {
		case len(exists) == 0 || r.IntN(5) < 3:
			turn := m.take(t, fmt.Sprintf("q/%d", i))
			exists[string(turn.key)] = turn.created
			running++
			go func() { ended <- m.checkTurn(t.Context(), s, turn) }()
		default:
			for key := range exists {
				m.delete(t, key)
				delete(exists, key)
				break
			}
		}
		for more := true; more; {
			select {
			case err := <-ended:
				if running--; err != nil {
					t.Fatal(err)
				}
			default:
				more = false
			}
		}
	}
	for key := range exists {
		m.delete(t, key)
	}
	for ; running > 0; running-- {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	if len(s.queues.queues) != 0 {
		t.Errorf("%d queues are left behind", len(s.queues.queues))
	}
}

// checkTurn waits for a turn and returns an error if it came too early.
func (m *localStore) checkTurn(ctx context.Context, s *server, own *turn) error {
	if err := s.await(ctx, own); err != nil {
		return err
	}
	var found mvcc.Collector
	all := prefixRange(own.prefix)
	if _, err := m.keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: all.Key, End: all.RangeEnd}}, &found); err != nil {
		return err
	}
	earlier, present := 0, false
	for _, k := range found.Keys {
		present = present || string(k.Key) == string(own.key)
		if k.CreateRevision < own.created {
			earlier++
		}
	}
	if present && earlier > 0 {
		return fmt.Errorf("%s has its turn after %d others", own.key, earlier)
	}
	return nil
}

// TestLongQueue waits in a queue that is too long to be copied.
func TestLongQueue(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	s := m.server()
	first := m.take(t, "q/first")
	own := m.take(t, "q/own")
	long := make([]byte, queueBytesMax/4)
	for i := range 5 {
		m.put(t, "q/"+fmt.Sprint(i)+string(long), nil)
	}
	q := s.enter(own.prefix)
	if err := q.wait(t.Context(), own); !errors.Is(err, errQueueTooLong) {
		t.Fatalf("a queue of %d bytes was copied: %v", 5*len(long), err)
	}
	s.leaveQueue(q)
	ended := make(chan error, 1)
	go func() { ended <- s.await(t.Context(), own) }()
	m.delete(t, string(first.key))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestManyFormerHolders takes a lock that thousands held before, and whose keys no compaction has
// removed. The queue is read once for all calls: each such read passes over those keys.
func TestManyFormerHolders(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	s := m.server()
	s.queues.linger = queueLinger
	if !s.alone(m.take(t, "q/first")) {
		t.Fatal("the only key of a queue is not alone")
	}
	m.delete(t, "q/first")
	m.change(t, func(w *mvcc.Writer) error {
		for i := range 2000 {
			if _, err := w.Put(&mvcc.PutOp{Key: fmt.Appendf(nil, "q/%d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	m.change(t, func(w *mvcc.Writer) error {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("q/"), End: []byte("q0")}})
		return err
	})
	for i := range 100 {
		own := m.take(t, fmt.Sprintf("q/own%d", i))
		if i > 0 {
			m.reads.Store(0)
		}
		if s.alone(own) {
			t.Fatal("a walk over 2000 deleted keys was not ended")
		}
		if err := s.await(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		if n := m.reads.Load(); i > 0 && n > 0 {
			t.Fatalf("call %d read the queue %d times", i, n)
		}
		m.delete(t, string(own.key))
	}
}
