package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// The names of the lanes in the handshake.
const (
	laneControl  = "control"
	laneAppend   = "append"
	laneSnapshot = "snapshot"
)

// absentMessagesMax is how many messages, the newest ones, wait in the control lane while there is
// no connection.
const absentMessagesMax = 64

// staleAfter is how long a message may wait for a connection. After that raft has sent newer ones.
const staleAfter = time.Second

// lane is one stream to a peer: a queue, and the goroutine that connects and writes the queue.
type lane struct {
	p           *peer
	name        string
	messagesMax int
	bytesMax    int // one message may wait regardless of its size
	// messageBytesMax is the receiver's maximum.
	messageBytesMax int

	wake  chan struct{} // has an element when there may be messages
	again chan struct{} // has an element when connecting may succeed now

	mu      sync.Mutex // guards the fields below
	queue   []queued
	waiting int  // messages in queue, and those being written
	bytes   int  // of the waiting messages
	down    bool // the last attempt to connect failed, or the connection broke
	link    *link
	to      *url.URL // the URL of link
}

type queued struct {
	m    *raftpb.Message
	size int
	at   time.Time
}

func newLane(p *peer, name string, messagesMax, bytesMax int) *lane {
	return &lane{
		p: p, name: name, messagesMax: messagesMax, bytesMax: bytesMax, messageBytesMax: p.t.payloadMax(name),
		wake: make(chan struct{}, 1), again: make(chan struct{}, 1),
	}
}

// put queues a message, or reports that it is lost. While the peer is down, appends are lost at
// once, so that raft keeps probing instead of sending more. The control lane keeps the newest
// messages, so that a peer that comes up receives a recent vote request.
func (l *lane) put(m *raftpb.Message, now time.Time) bool {
	size := frameHead + messageSize(m)
	l.mu.Lock()
	if l.link == nil && l.name == laneControl && len(l.queue) >= absentMessagesMax {
		l.dropOldestLocked()
	}
	full := l.waiting > 0 && (l.waiting >= l.messagesMax || l.bytes+size > l.bytesMax)
	if full || size-frameHead > l.messageBytesMax || l.down && l.name == laneAppend {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, queued{m, size, now})
	l.waiting++
	l.bytes += size
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

func (l *lane) dropOldestLocked() {
	l.waiting--
	l.bytes -= l.queue[0].size
	l.queue = slices.Delete(l.queue, 0, 1)
	l.p.counters.dropped.Add(1)
}

// run connects and writes until the peer is removed.
func (l *lane) run() {
	failures := 0
	for l.p.ctx.Err() == nil {
		k, _, u, err := l.p.connect(l.p.ctx, func(h http.Header) { h.Set(headerLane, l.name) })
		if err == nil {
			connected := time.Now()
			err = l.use(k, u)
			if time.Since(connected) > l.p.t.cfg.Limits.BackoffMax {
				failures = 0
			}
		}
		if l.p.ctx.Err() != nil {
			return
		}
		l.fail(err)
		failures++
		l.pause(l.p.t.backoff(failures))
	}
}

// pause waits until the time of the next attempt, or until a sign that it may succeed earlier.
func (l *lane) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.p.ctx.Done():
	case <-timer.C:
	case <-l.again:
	}
}

func (l *lane) kick() {
	l.mu.Lock()
	connected := l.link != nil
	l.mu.Unlock()
	if connected {
		return
	}
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// reconsider reconnects when the peer's URLs no longer contain the connection's URL.
func (l *lane) reconsider(urls []*url.URL) {
	l.mu.Lock()
	if l.link != nil && !slices.ContainsFunc(urls, func(u *url.URL) bool { return *u == *l.to }) {
		_ = l.link.conn.Close() // wakes the lane's goroutine
	}
	l.mu.Unlock()
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// fail counts the messages that are lost with a connection, or while there is none.
func (l *lane) fail(err error) {
	l.mu.Lock()
	l.down = true
	lost := 0
	if l.name == laneAppend {
		lost = len(l.queue)
		l.forgetLocked(lost)
	}
	l.mu.Unlock()
	if lost > 0 {
		l.p.lose(lost)
	}
	l.p.failed(fmt.Errorf("%s lane: %w", l.name, err))
}

// forgetLocked removes the first n messages from the queue.
func (l *lane) forgetLocked(n int) {
	for _, q := range l.queue[:n] {
		l.bytes -= q.size
	}
	l.waiting -= n
	l.queue = slices.Delete(l.queue, 0, n)
}

// use writes to a connection until it breaks, and returns the cause.
func (l *lane) use(k *link, u *url.URL) error {
	l.open(k, u)
	defer l.close()
	ctx, cancel := context.WithCancel(l.p.ctx)
	var helpers sync.WaitGroup
	var broken error
	helpers.Go(func() {
		defer cancel()
		broken = l.listen(k)
		l.disconnected()
	})
	helpers.Go(func() { k.beat(ctx, l.p.t.cfg.Limits.PingInterval, k.ping) })
	stop := context.AfterFunc(ctx, func() { _ = k.conn.Close() })
	err := l.write(ctx, k)
	cancel()
	helpers.Wait()
	stop()
	_ = k.conn.Close()
	switch {
	case timeout(broken):
		return fmt.Errorf("no sign of life for %v", l.p.t.cfg.Limits.DeadAfter)
	case broken != nil && !errors.Is(broken, context.Canceled):
		return fmt.Errorf("connection broke: %w", broken)
	}
	return fmt.Errorf("connection broke: %w", err)
}

func (l *lane) open(k *link, u *url.URL) {
	now := time.Now()
	l.mu.Lock()
	l.link, l.to, l.down = k, u, false
	stale := 0
	for stale < len(l.queue) && now.Sub(l.queue[stale].at) > staleAfter {
		stale++
	}
	l.forgetLocked(stale)
	l.mu.Unlock()
	l.p.counters.dropped.Add(uint64(stale))
	if l.name == laneControl {
		l.p.active.Store(&now)
	}
	l.p.works(u)
	l.p.kick()
}

// disconnected records that the connection has broken, before the lane's goroutines have ended: the
// member must not forward requests to this peer from now on.
func (l *lane) disconnected() {
	if l.name == laneControl {
		l.p.active.Store(nil)
	}
}

func (l *lane) close() {
	l.disconnected()
	l.mu.Lock()
	l.link, l.to = nil, nil
	l.mu.Unlock()
	l.p.unreachable()
}

// listen reads the peer's signs of life.
func (l *lane) listen(k *link) error {
	for {
		what, payload, _, err := k.frames.next()
		if err != nil {
			return unexpected(err)
		}
		if what != kindPong || l.name != laneControl {
			continue
		}
		if d, ok := k.roundTrip(payload); ok {
			l.p.counters.roundTrip.add(d)
			if report := l.p.t.cfg.RoundTrip; report != nil {
				report(l.p.id, d)
			}
		}
	}
}

// write writes the queue, each time as much as there is.
func (l *lane) write(ctx context.Context, k *link) error {
	var msgs []queued
	for {
		if msgs = l.take(msgs); len(msgs) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-l.wake:
			}
			continue
		}
		for rest := msgs; len(rest) > 0; {
			n, err := l.writeSome(k, rest)
			if err != nil {
				l.written(rest)
				l.p.lose(len(rest))
				return err
			}
			l.written(rest[:n])
			rest = rest[n:]
		}
	}
}

// take swaps the queue with an empty one.
func (l *lane) take(spare []queued) []queued {
	clear(spare)
	l.mu.Lock()
	defer l.mu.Unlock()
	msgs := l.queue
	l.queue = spare[:0]
	return msgs
}

// written releases the space of written messages.
func (l *lane) written(msgs []queued) {
	bytes := 0
	for _, q := range msgs {
		bytes += q.size
	}
	l.mu.Lock()
	l.waiting -= len(msgs)
	l.bytes -= bytes
	l.mu.Unlock()
}

// writeSome writes the first few of some messages with one system call.
func (l *lane) writeSome(k *link, msgs []queued) (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n < len(msgs) && (n == 0 || k.out.size() < batchBytesMax) {
		if err := k.out.message(msgs[n].m); err != nil {
			l.p.log.Error("cannot encode a raft message", "type", msgs[n].m.GetType().String(), "error", err)
			l.p.lose(1)
		}
		n++
	}
	size := k.out.size()
	if err := k.flushLocked(); err != nil {
		return 0, err
	}
	l.p.counters.sentMessages.Add(uint64(n))
	l.p.counters.sentBytes.Add(uint64(size))
	return n, nil
}
