package member

import (
	"context"
	"sync"
	"time"

	"cairn/internal/replica"
)

// reads are the linearizable reads in progress. The raft loop requests read indexes and receives
// them; the applier releases the reads whose index it has reached.
type reads struct {
	mu      sync.Mutex
	asked   map[uint64][]*read // by the id of the ReadIndex
	waiting []waitingReads     // for the applied index
}

type waitingReads struct {
	index uint64
	reads []*read
}

func (r *reads) ask(id uint64, rs []*read) {
	r.mu.Lock()
	r.asked[id] = append([]*read(nil), rs...)
	r.mu.Unlock()
}

// confirm processes read indexes from raft. It reads the applied index under the lock, so that a
// concurrent call of reached cannot miss the reads.
func (r *reads) confirm(confirmed []replica.Read, appliedIndex func() uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	applied := appliedIndex()
	for _, a := range confirmed {
		rs := r.asked[a.ID]
		delete(r.asked, a.ID)
		if a.Index > applied {
			r.waiting = append(r.waiting, waitingReads{a.Index, rs})
			continue
		}
		release(rs, nil)
	}
}

// reached releases the reads that waited for the applied index.
func (r *reads) reached(applied uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.waiting[:0]
	for _, w := range r.waiting {
		if w.index > applied {
			left = append(left, w)
			continue
		}
		release(w.reads, nil)
	}
	r.waiting = left
}

// unanswered returns the ids without a response from raft, and fails those that were requested
// before the given time: raft drops requests when leadership changes.
func (r *reads) unanswered(before time.Duration, err error) (ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, rs := range r.asked {
		if len(rs) > 0 && rs[0].since < before {
			delete(r.asked, id)
			release(rs, err)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// waitingForAnswer returns the ids without a response from raft.
func (r *reads) waitingForAnswer() []uint64 { return r.unanswered(0, nil) }

func (r *reads) failAll(err error) {
	r.unanswered(1<<62, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting {
		release(w.reads, err)
	}
	r.waiting = nil
}

func release(rs []*read, err error) {
	for _, r := range rs {
		r.done <- err
	}
}

// WaitLinearizable returns when a read of Keys, begun afterwards, sees every
// write that was acknowledged, by any member, before the call.
func (m *Member) WaitLinearizable(ctx context.Context) error {
	// A sole member acknowledges writes only after they are published here.
	if m.readable.Load() {
		return nil
	}
	r := &read{done: make(chan error, 1), since: m.now()}
	if err := m.inbox.read(r); err != nil {
		return err
	}
	var err error
	select {
	case err = <-r.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-m.failed:
		err = ErrStopped
	case <-m.removed:
		err = ErrRemoved
	}
	if err != nil {
		m.metrics.ReadIndexesFailed.Inc()
	} else if m.now()-r.since > slowReadIndex {
		m.metrics.SlowReadIndexes.Inc()
	}
	return err
}
