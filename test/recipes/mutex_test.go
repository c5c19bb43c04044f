package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// TestMutexContention increments a counter by separate reads and writes that only the mutex makes
// atomic.
func TestMutexContention(t *testing.T) {
	f := start(t)
	const workers, rounds = 6, 10
	done := make(chan error, workers)
	for range workers {
		s := f.session(60)
		go func() {
			m := concurrency.NewMutex(s, "lock/")
			for range rounds {
				if err := m.Lock(f.ctx); err != nil {
					done <- err
					return
				}
				resp, err := f.Get(f.ctx, "count")
				n := 0
				if err == nil && len(resp.Kvs) > 0 {
					n, err = strconv.Atoi(string(resp.Kvs[0].Value))
				}
				if err == nil {
					// IsOwner fences a holder that has lost the lock without having noticed.
					var put *clientv3.TxnResponse
					put, err = f.Txn(f.ctx).If(m.IsOwner()).Then(clientv3.OpPut("count", strconv.Itoa(n+1))).Commit()
					if err == nil && !put.Succeeded {
						err = errors.New("the holder of the lock is not its owner")
					}
				}
				if err := errors.Join(err, m.Unlock(f.ctx)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range workers {
		f.must("count", <-done)
	}
	if got := f.value(f, "count"); got != strconv.Itoa(workers*rounds) {
		t.Errorf("counted to %s, want %d", got, workers*rounds)
	}
}

// TestMutexFairness starts waiters one after the other: they get the lock in that order.
func TestMutexFairness(t *testing.T) {
	f := start(t)
	first := concurrency.NewMutex(f.session(60), "lock/")
	f.must("lock", first.Lock(f.ctx))
	const waiters = 5
	order := make(chan int, waiters)
	for i := range waiters {
		m := concurrency.NewMutex(f.session(60), "lock/")
		go func() {
			if m.Lock(f.ctx) != nil {
				order <- -1
				return
			}
			order <- i
			if m.Unlock(f.ctx) != nil {
				order <- -1
			}
		}()
		f.waiting("lock/", int64(i)+2)
	}
	f.must("unlock", first.Unlock(f.ctx))
	for i := range waiters {
		if got := <-order; got != i {
			t.Fatalf("waiter %d got the lock, want %d", got, i)
		}
	}
}

func TestMutexTryAndCancel(t *testing.T) {
	f := start(t)
	holder, other := concurrency.NewMutex(f.session(60), "lock/"), concurrency.NewMutex(f.session(60), "lock/")
	f.must("lock", holder.TryLock(f.ctx))
	if err := other.TryLock(f.ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("try to lock what is locked: %v", err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error)
	go func() { ended <- other.Lock(ctx) }()
	f.waiting("lock/", 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait: %v", err)
	}
	f.waiting("lock/", 1)
	f.must("unlock", holder.Unlock(f.ctx))
	f.must("lock at last", other.TryLock(f.ctx))
}

// TestSessionExpires lets a session end by its TTL, as after a crash of its program: a waiter for
// its lock gets it, and the program, if it still runs, is notified.
func TestSessionExpires(t *testing.T) {
	f := start(t)
	lease, err := f.Grant(f.ctx, briefTTL)
	f.must("grant", err)
	dead, err := concurrency.NewSession(f.Client, concurrency.WithLease(lease.ID), concurrency.WithContext(f.ctx))
	f.must("session", err)
	m := concurrency.NewMutex(dead, "lock/")
	f.must("lock", m.Lock(f.ctx))
	dead.Orphan() // stop the keep-alives
	next := concurrency.NewMutex(f.session(60), "lock/")
	f.must("lock of the dead", next.Lock(f.ctx))
	resp, err := f.Txn(f.ctx).If(m.IsOwner()).Then(clientv3.OpPut("k", "stale")).Commit()
	f.must("write of the dead", err)
	if resp.Succeeded {
		t.Error("a client that lost the lock can still write")
	}

	alive := f.session(60)
	_, err = f.Revoke(f.ctx, alive.Lease())
	f.must("revoke", err)
	select {
	case <-alive.Done():
	case <-f.ctx.Done():
		t.Fatal("a session whose lease was revoked is not notified")
	}
	if err := concurrency.NewMutex(alive, "other/").Lock(f.ctx); err == nil {
		t.Error("a session without a lease locks")
	}
}

// TestSessionOutlivesRestart keeps a session, and its lock, over a restart of the server.
func TestSessionOutlivesRestart(t *testing.T) {
	f := start(t)
	s := f.session(30)
	m := concurrency.NewMutex(s, "lock/")
	f.must("lock", m.Lock(f.ctx))
	f.server.Kill()
	f.server.Restart()
	if got := f.value(f, m.Key()); got != "" {
		t.Errorf("the lock's key has the value %q", got)
	}
	resp, err := f.Txn(f.ctx).If(m.IsOwner()).Then(clientv3.OpPut("k", "v")).Commit()
	f.must("write", err)
	if !resp.Succeeded {
		t.Error("the lock is lost")
	}
	select {
	case <-s.Done():
		t.Error("the session has ended")
	default:
	}
	f.must("close", s.Close())
	if got := fmt.Sprint(f.value(f, "k")); got != "v" {
		t.Errorf("k is %q", got)
	}
	f.waiting("lock/", 0)
}
