package member

import (
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// workQueue has the messages with work for one role; wake has a token when the role's goroutine
// should check it.
type workQueue struct {
	role string // its name
	wake chan struct{}

	mu     sync.Mutex
	msgs   []*raftpb.Message
	urgent bool          // one of msgs is urgent
	since  time.Duration // when the first urgent one was added
}

// put adds a message, at a time of the member's clock. One that is not urgent waits for an urgent
// one.
func (q *workQueue) put(m *raftpb.Message, urgent bool, now time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.msgs = append(q.msgs, m)
	if urgent && !q.urgent {
		q.urgent, q.since = true, now
	}
}

// age returns how long urgent work has waited.
func (q *workQueue) age(now time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.urgent {
		return 0
	}
	return now - q.since
}

// idle reports whether no urgent work waits.
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

// take returns all messages, in order.
func (q *workQueue) take() []*raftpb.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.urgent = nil, false
	return msgs
}
