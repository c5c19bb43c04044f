package member

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestClose: every request in progress when the member closes is completed, or fails with
// ErrStopped; later requests fail, too.
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
	if err := m.Close(); err != nil {
		t.Error(err)
	}
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
		// One more may have been applied than its client knows.
		if v := keys(t, m)[name("c", c)]; v != name(n) && v != name(n+1) && (n > 0 || v != "") {
			t.Errorf("client %d: %q is there, %d was acknowledged", c, v, n)
		}
	}
	if _, ok := keys(t, m)["late"]; ok {
		t.Error("a refused write is there")
	}
}
