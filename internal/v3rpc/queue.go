package v3rpc

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
)

// The calls of this member that wait in one queue of a lock or an election share a copy of it: the
// keys below the name, in the order in which they were created, which a watch keeps up to date. So
// a key that is created or deleted costs the same regardless of the number of keys and waiters, and
// wakes at most the one waiter whose turn it is.

const (
	// queueKeysMax and queueBytesMax limit a queue's copy. A longer queue is read by each waiter.
	queueKeysMax  = 1 << 17
	queueBytesMax = 4 << 20
	// queueLinger is how long a copy is kept after its last user has left, so that calls one after
	// another do not read the queue each; unless there are lingeringMax copies.
	queueLinger  = 5 * time.Second
	lingeringMax = 256
)

var (
	// errQueueTooLong ends a copy that would exceed its limits.
	errQueueTooLong = errors.New("queue is too long to be copied")
	// errQueueReset ends a copy that has missed changes.
	errQueueReset = errors.New("queue has to be read again")
)

// queues are the queues that have waiters, by the prefix of their keys.
type queues struct {
	linger time.Duration // queueLinger
	mu     sync.Mutex
	queues map[string]*queue
}

// queue is the copy of one queue.
//
// Invariant: order is ascending, and has all keys of created (checkLocked, in builds with the tag
// invariants). A waiter's key is in created, or its creation is after seen.
type queue struct {
	prefix string
	users  int // guarded by queues.mu
	stop   context.CancelFunc

	mu      sync.Mutex
	created map[string]int64 // create revisions of the keys
	bytes   int              // of the keys
	order   []place
	seen    int64                  // revision up to which changes are in the copy
	waiters map[int64][]chan error // by the create revision of their keys
	moved   chan struct{}          // closed when seen or ended changes; nil: no waiter
	ended   error                  // why the copy is no longer kept up to date
}

// place is a key's place in a queue. The key may have been deleted since.
type place struct {
	created int64
	key     string
}

// has reports whether there is a copy of a queue.
func (q *queues) has(prefix []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queues[string(prefix)] != nil
}

// enter returns the copy of a queue. leave must follow.
func (s *server) enter(prefix []byte) *queue {
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	q := s.queues.queues[string(prefix)]
	if q == nil {
		ctx, stop := context.WithCancel(context.Background())
		q = &queue{prefix: string(prefix), stop: stop, created: map[string]int64{}, waiters: map[int64][]chan error{}}
		s.queues.queues[q.prefix] = q
		go s.copyQueue(ctx, q) // until the last waiter leaves
	}
	q.users++
	return q
}

func (s *server) leaveQueue(q *queue) {
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	if q.users--; q.users > 0 {
		return
	}
	if s.queues.linger == 0 || len(s.queues.queues) > lingeringMax {
		q.stop()
		s.forgetLocked(q)
		return
	}
	time.AfterFunc(s.queues.linger, func() {
		s.queues.mu.Lock()
		defer s.queues.mu.Unlock()
		if q.users == 0 {
			q.stop()
			s.forgetLocked(q)
		}
	})
}

func (s *server) forgetLocked(q *queue) {
	if s.queues.queues[q.prefix] == q {
		delete(s.queues.queues, q.prefix)
	}
}

// copyQueue keeps a copy up to date until its context ends or an error occurs.
func (s *server) copyQueue(ctx context.Context, q *queue) {
	err := s.followQueue(ctx, q)
	s.queues.mu.Lock()
	s.forgetLocked(q) // the next caller reads the queue again
	s.queues.mu.Unlock()
	q.end(err)
}

func (s *server) followQueue(ctx context.Context, q *queue) error {
	all := prefixRange([]byte(q.prefix))
	keys := kv.KeyRange{Key: all.Key, End: all.RangeEnd}
	found := mvcc.Collector{KeysOnly: true}
	sum, err := s.member.Requests.Keys().Range(&mvcc.RangeOp{KeyRange: keys, KeysOnly: true, Limit: queueKeysMax}, &found)
	if err != nil {
		return err
	}
	if sum.More {
		return errQueueTooLong
	}
	if err := q.load(found.Keys, sum.Revision); err != nil {
		return err
	}
	f := s.follow(keys, sum.Revision+1)
	defer f.close()
	for {
		events, err := f.next(ctx)
		switch {
		case err != nil:
			return err
		case events == nil:
			return errQueueReset
		}
		if err := q.apply(events); err != nil {
			return err
		}
	}
}

// load fills an empty copy.
func (q *queue) load(keys []mvcc.KeyRecord, revision int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.SortFunc(keys, func(a, b mvcc.KeyRecord) int { return int(a.CreateRevision - b.CreateRevision) })
	for i := range keys {
		if err := q.addLocked(string(keys[i].Key), keys[i].CreateRevision); err != nil {
			return err
		}
	}
	q.seen = revision
	q.signalMovedLocked()
	for created, waiters := range q.waiters { // those that arrived before the copy was loaded
		if created <= q.seen && (created <= q.frontLocked() || !q.hasLocked(created)) {
			q.wakeLocked(created, waiters)
		}
	}
	return nil
}

// hasLocked reports whether the key with a create revision exists.
func (q *queue) hasLocked(created int64) bool {
	i, _ := slices.BinarySearchFunc(q.order, created, func(p place, at int64) int { return int(p.created - at) })
	for ; i < len(q.order) && q.order[i].created == created; i++ {
		if q.created[q.order[i].key] == created {
			return true
		}
	}
	return false
}

// apply brings the copy up to date with the events of whole revisions.
func (q *queue) apply(events []*watch.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range events {
		key := string(e.Key)
		switch {
		case e.Type == kv.EventDelete:
			created, ok := q.created[key]
			if !ok {
				continue
			}
			delete(q.created, key)
			q.bytes -= len(key)
			q.wakeLocked(created, q.waiters[created]) // its waiter detects that the key was deleted
		case e.Record.CreateRevision == e.Revision():
			if err := q.addLocked(key, e.Revision()); err != nil {
				return err
			}
		}
	}
	q.seen = max(q.seen, events[len(events)-1].Revision())
	q.signalMovedLocked()
	front := q.frontLocked()
	if invariant.Enabled {
		q.checkLocked()
	}
	q.wakeLocked(front, q.waiters[front])
	return nil
}

func (q *queue) addLocked(key string, created int64) error {
	if q.bytes += len(key); len(q.order) >= queueKeysMax || q.bytes > queueBytesMax {
		return errQueueTooLong
	}
	q.created[key] = created
	q.order = append(q.order, place{created, key})
	return nil
}

// checkLocked checks order against created.
func (q *queue) checkLocked() {
	listed := 0
	for i, p := range q.order {
		invariant.Check(i == 0 || q.order[i-1].created <= p.created, "queue %s: key %q is before its predecessor", q.prefix, p.key)
		if q.created[p.key] == p.created {
			listed++
		}
	}
	invariant.Check(listed == len(q.created), "queue %s: %d of its %d keys have a place", q.prefix, listed, len(q.created))
}

// frontLocked drops the places of deleted keys at the front, and returns the create revision of the
// first key.
func (q *queue) frontLocked() int64 {
	for len(q.order) > 0 && q.created[q.order[0].key] != q.order[0].created {
		q.order = q.order[1:]
	}
	if len(q.order) == 0 {
		return math.MaxInt64
	}
	return q.order[0].created
}

func (q *queue) wakeLocked(created int64, waiters []chan error) {
	for _, w := range waiters {
		close(w)
	}
	delete(q.waiters, created)
}

func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = err
	q.signalMovedLocked()
	for created, waiters := range q.waiters {
		for _, w := range waiters {
			w <- err
		}
		delete(q.waiters, created)
	}
}

// wait returns when no key exists that was created before a turn's, or when the turn's own has been
// deleted.
func (q *queue) wait(ctx context.Context, t *turn) error {
	q.mu.Lock()
	if q.ended != nil {
		q.mu.Unlock()
		return q.ended
	}
	if q.seen >= t.created && (q.created[string(t.key)] != t.created || t.created <= q.frontLocked()) {
		q.mu.Unlock()
		return nil
	}
	turned := make(chan error, 1)
	q.waiters[t.created] = append(q.waiters[t.created], turned)
	q.mu.Unlock()
	select {
	case err := <-turned:
		return err
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		rest := slices.DeleteFunc(q.waiters[t.created], func(w chan error) bool { return w == turned })
		if q.waiters[t.created] = rest; len(rest) == 0 {
			delete(q.waiters, t.created)
		}
		return ctx.Err()
	}
}

func (q *queue) signalMovedLocked() {
	if q.moved != nil {
		close(q.moved)
		q.moved = nil
	}
}

// front returns the first key of the queue and its create revision, as of a revision after the
// given one, for which it waits. key is empty if the queue is.
func (q *queue) front(ctx context.Context, after int64) (key string, created, seen int64, err error) {
	for {
		q.mu.Lock()
		if q.ended != nil || q.seen > after {
			if created = q.frontLocked(); len(q.order) > 0 {
				key = q.order[0].key
			}
			seen, err = q.seen, q.ended
			q.mu.Unlock()
			return key, created, seen, err
		}
		if q.moved == nil {
			q.moved = make(chan struct{})
		}
		moved := q.moved
		q.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return "", 0, 0, ctx.Err()
		}
	}
}
