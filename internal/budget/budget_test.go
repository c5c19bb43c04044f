package budget

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTakeAndGive(t *testing.T) {
	b := New(1000)
	if !b.TryTake(600) || b.TryTake(401) || !b.TryTake(400) {
		t.Fatal("1000 bytes were not shared as 600 and 400")
	}
	b.Give(600)
	if b.Used() != 400 {
		t.Fatalf("used %d, want 400", b.Used())
	}
	var none *Budget
	if !none.TryTake(1<<40) || none.Take(context.Background(), 1<<40) != nil || none.Limit() != 0 {
		t.Fatal("a nil budget has a limit")
	}
	none.Give(1)
}

func TestPartKeptForSmallShares(t *testing.T) {
	b := New(10 << 20)
	if b.TryTake(9<<20 + 1) {
		t.Error("a large share came from the part kept for small ones")
	}
	if !b.TryTake(9<<20) || !b.TryTake(SmallBytes) {
		t.Error("a large and a small share do not fit")
	}
	if err := b.Take(context.Background(), 9<<20+1); !errors.Is(err, ErrExhausted) {
		t.Errorf("a share that can never be had: %v", err)
	}
}

// Waiters are served smallest first, and a deadline ends a wait.
func TestWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		b.TryTake(100)
		var mu sync.Mutex
		var order []int64
		var wg sync.WaitGroup
		for _, n := range []int64{60, 10, 40, 20} {
			wg.Go(func() {
				if err := b.Take(context.Background(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Take(ctx, 90); !errors.Is(err, ErrExhausted) {
			t.Errorf("after the deadline: %v", err)
		}
		ctx, cancel = context.WithCancel(context.Background())
		cancel()
		if err := b.Take(ctx, 90); !errors.Is(err, context.Canceled) {
			t.Errorf("after a cancellation: %v", err)
		}
		for range 4 { // 25 at a time: enough for 10, 20 with what is left, …
			b.Give(25)
			synctest.Wait()
		}
		b.Give(10 + 20)
		synctest.Wait()
		wg.Wait()
		if want := []int64{10, 20, 40, 60}; len(order) != 4 || [4]int64(order) != [4]int64(want) {
			t.Errorf("served %v, want %v", order, want)
		}
		if b.Used() != 100 {
			t.Errorf("used %d, want 100", b.Used())
		}
	})
}

func TestManyTakers(t *testing.T) {
	b := New(1 << 20)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			n := int64(1000 * (i + 1))
			for range 200 {
				if err := b.Take(context.Background(), n); err != nil {
					t.Error(err)
					return
				}
				if b.Used() > b.Limit() {
					t.Errorf("used %d of %d", b.Used(), b.Limit())
				}
				b.Give(n)
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 {
		t.Errorf("%d bytes were not released", b.Used())
	}
}

func TestMachine(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing":   {nil, 0},
		"machine":   {map[string]string{"/proc/meminfo": "MemTotal:       2048 kB\nMemFree: 1 kB\n"}, 2 << 20},
		"unlimited": {map[string]string{"/proc/meminfo": "MemTotal: 2048 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}, 2 << 20},
		"own group": {map[string]string{
			"/proc/meminfo": "MemTotal: 2048 kB\n", "/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/memory.max": "1048576\n", "/sys/fs/cgroup/a/b/memory.max": "max\n",
		}, 1 << 20},
		"version 1": {map[string]string{
			"/proc/meminfo": "MemTotal: 2048 kB\n", "/proc/self/cgroup": "5:cpu:/x\n4:memory:/c\n",
			"/sys/fs/cgroup/memory/c/memory.limit_in_bytes": "4096\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n",
			"/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1\n",
		}, 4096},
	} {
		got := machine(func(name string) ([]byte, error) {
			text, ok := tc.files[name]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		})
		if got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// A connection that was open before others took everything can still have a small request.
func TestGuarantee(t *testing.T) {
	b := New(10 << 20)
	good := b.Open()
	for n := int64(SmallBytes); n > 0; n /= 2 { // all that is left
		for b.TryTake(n) {
			continue
		}
	}
	first, second := good.TryTake(guaranteeBytes/2), good.TryTake(guaranteeBytes/2)
	if !first || !second || good.TryTake(1) {
		t.Error("the guarantee was not had once")
	}
	if late := b.Open(); late.TryTake(1) {
		t.Error("an account opened without memory has a guarantee")
	} else {
		late.Close()
	}
	good.Give(guaranteeBytes / 2)
	good.Force(guaranteeBytes)
	if over := b.Used() - 10<<20; over != guaranteeBytes/2 {
		t.Errorf("%d bytes above the limit, want %d", over, guaranteeBytes/2)
	}
	good.Give(guaranteeBytes)
	good.Give(guaranteeBytes / 2)
	good.Close()
	if want := int64(10<<20 - guaranteeBytes); b.Used() != want {
		t.Errorf("%d bytes are taken after the end, want %d", b.Used(), want)
	}
}

// TestAccountOfManyGoroutines: all bytes that goroutines take from one account at the same time are
// given back.
func TestAccountOfManyGoroutines(t *testing.T) {
	b := New(1 << 20)
	a := b.Open()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			n := int64(700 * (i + 1))
			for range 500 {
				switch i % 3 {
				case 0:
					if !a.TryTake(n) {
						continue
					}
				case 1:
					if a.Take(context.Background(), n) != nil {
						continue
					}
				default:
					a.Force(n)
				}
				a.Give(n)
			}
		})
	}
	wg.Wait()
	if b.Used() != guaranteeBytes {
		t.Errorf("%d bytes are taken, want %d", b.Used(), guaranteeBytes)
	}
	a.Close()
	if b.Used() != 0 {
		t.Errorf("%d bytes are taken after the end", b.Used())
	}
}
