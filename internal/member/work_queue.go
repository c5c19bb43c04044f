package member

import (
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// workQueue holds the messages of work of one role; wake has a token when the role's
// goroutine is to look.
type workQueue struct {
	role string // its name
	wake chan struct{}

	mu     sync.Mutex
	msgs   []*raftpb.Message
	urgent bool          // one of msgs is
	since  time.Duration // when the first urgent one came
}

// put adds a message, at a time of the member's clock. One that is not urgent waits for one that
// is.
func (q *workQueue) put(m *raftpb.Message, urgent bool, now time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.msgs = append(q.msgs, m)
	if urgent && !q.urgent {
		q.urgent, q.since = true, now
	}
}

// age returns for how long urgent work has waited.
func (q *workQueue) age(now time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.urgent {
		return 0
	}
	return now - q.since
}

// idle reports whether nothing urgent waits.
func (q *workQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.urgent
}

// signal wakes the goroutine.
func (q *workQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all that has gathered, in order.
func (q *workQueue) take() []*raftpb.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.urgent = nil, false
	return msgs
}
