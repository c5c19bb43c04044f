// Package budget divides a number of bytes among everything that clients can make the server hold:
// connections, headers, requests, responses; and the processors among long reads.
//
// It owns the count and the order in which waiters are served. It does not allocate: a caller takes
// bytes before it allocates memory and releases them when it has freed the memory.
//
// A tenth of the budget is reserved for small shares, so that clients with small requests are
// served while large responses fill the rest. Waiters are served smallest first; within the same
// size, in order of arrival.
//
// Invariants: the bytes taken never exceed the limit; bytes that TryTake or Take took are released
// exactly once. Give panics when more bytes are released than were taken.
//
// Concurrency: every method may be called from any goroutine. TryTake and Give are one atomic
// operation while no goroutine waits.
package budget

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrExhausted is returned for a share that was not available in time. On the wire it is etcd's
// "too many requests".
var ErrExhausted = errors.New("memory limit reached: too many requests")

// SmallBytes is the largest share that may use the part reserved for small shares.
const SmallBytes = 64 << 10

// 1/keptPart of the budget is reserved for small shares.
const keptPart = 10

// Budget is a number of bytes to share. A nil *Budget has no limit.
type Budget struct {
	limit    int64
	used     atomic.Int64
	accounts atomic.Int64 // open ones
	long     turns        // of reads that take long
	runs     turns        // of reads of ranges until they turn out to be long

	waiting atomic.Int64 // len(waiters), read without mu
	mu      sync.Mutex   // guards the fields below
	waiters waiters
	seq     uint64
}

// New returns a budget of limit bytes.
func New(limit int64) *Budget {
	return &Budget{limit: limit, long: turns{free: longReadsMax()}, runs: turns{free: runsMax(limit)}}
}

// Limit returns the size of the budget, 0 when there is no limit.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}

// Used returns the bytes that are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Waiting reports whether a caller waits for a share.
func (b *Budget) Waiting() bool { return b != nil && b.waiting.Load() > 0 }

// room returns the maximum of bytes taken after a share of n bytes.
func (b *Budget) room(n int64) int64 {
	if n <= SmallBytes {
		return b.limit
	}
	return b.limit - b.limit/keptPart
}

// TryTake takes n bytes unless that would exceed the limit.
func (b *Budget) TryTake(n int64) bool {
	if b == nil {
		return true
	}
	room := b.room(n)
	for {
		used := b.used.Load()
		if used+n > room {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Take takes n bytes, waiting for them until ctx ends. It returns ErrExhausted when ctx's deadline
// has passed or when n exceeds the maximum, and ctx's error when ctx was canceled.
func (b *Budget) Take(ctx context.Context, n int64) error {
	if b.TryTake(n) {
		return nil
	}
	if n > b.room(n) {
		return ErrExhausted
	}
	w := &waiter{bytes: n, served: make(chan struct{})}
	b.mu.Lock()
	b.seq++
	w.seq = b.seq
	heap.Push(&b.waiters, w)
	b.waiting.Add(1)
	// Bytes may have been released since TryTake, when there was no waiter yet.
	b.serveLocked()
	b.mu.Unlock()
	select {
	case <-w.served:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.index < 0 { // served meanwhile
		b.used.Add(-n)
		b.serveLocked()
	} else {
		heap.Remove(&b.waiters, w.index)
		b.waiting.Add(-1)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrExhausted
	}
	return ctx.Err()
}

// Give releases n bytes.
func (b *Budget) Give(n int64) {
	if b == nil || n == 0 {
		return
	}
	if used := b.used.Add(-n); used < 0 {
		panic(fmt.Sprintf("budget: %d bytes were given back, of which %d were not taken", n, -used))
	}
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.serveLocked()
	b.mu.Unlock()
}

// serveLocked gives waiters their shares, the smallest first, while there are enough bytes.
func (b *Budget) serveLocked() {
	for len(b.waiters) > 0 && b.TryTake(b.waiters[0].bytes) {
		w := heap.Pop(&b.waiters).(*waiter)
		b.waiting.Add(-1)
		close(w.served)
	}
}

type waiter struct {
	bytes  int64
	seq    uint64
	index  int // in the heap; -1: served
	served chan struct{}
}

// waiters is a heap whose first element is served next.
type waiters []*waiter

// Len implements heap.Interface.
func (w waiters) Len() int { return len(w) }

// Less implements heap.Interface.
func (w waiters) Less(i, j int) bool {
	if w[i].bytes != w[j].bytes {
		return w[i].bytes < w[j].bytes
	}
	return w[i].seq < w[j].seq
}

// Swap implements heap.Interface.
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push implements heap.Interface.
func (w *waiters) Push(x any) {
	item := x.(*waiter)
	item.index = len(*w)
	*w = append(*w, item)
}

// Pop implements heap.Interface.
func (w *waiters) Pop() any {
	last := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	last.index = -1
	return last
}
