package peer

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits on the peer port for processes that are not known to be members. A member's streams and
// the connections of its calls do not count once it is confirmed.
const (
	// strangersMax is how many connections they may have; one more closes the oldest. So a member
	// that connects gets in, however many connections others hold.
	strangersMax = 256
	// idleMax is for how long a connection is kept without a request; longer than members keep
	// theirs (idleCallTimeout), so that they do not use one that is being closed.
	idleMax = 2 * idleCallTimeout
)

// strangers are the connections of the peer port that are not known to be a member's, the oldest
// first.
type strangers struct {
	mu    sync.Mutex
	max   int
	order list.List
	conns map[net.Conn]*list.Element
}

func (s *strangers) add(c net.Conn) {
	s.mu.Lock()
	var oldest net.Conn
	if s.conns == nil {
		s.conns = map[net.Conn]*list.Element{}
	}
	s.conns[c] = s.order.PushBack(c)
	if len(s.conns) > s.max {
		oldest = s.order.Front().Value.(net.Conn)
		s.drop(oldest)
	}
	s.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close() // its server notices
	}
}

func (s *strangers) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(c)
}

// drop forgets a connection. The caller holds mu.
func (s *strangers) drop(c net.Conn) {
	if e := s.conns[c]; e != nil {
		s.order.Remove(e)
		delete(s.conns, c)
	}
}

type connKey struct{}

// Protect sets what a server of the peer port needs, so that strangers cannot take its connections,
// and with them the process's descriptors. It must be called before the server is started.
func (t *Transport) Protect(server *http.Server) {
	server.IdleTimeout = idleMax
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	server.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			t.strangers.add(c)
		case http.StateHijacked, http.StateClosed:
			t.strangers.remove(c)
		}
	}
}

// welcome ends the counting of a connection whose sender is confirmed.
func (t *Transport) welcome(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		t.strangers.remove(c)
	}
}

// confirmSlots limit the confirmations in progress, separately for each peer, and for all senders
// together that are not peers (key 0): so requests in the name of a member that does not respond do
// not prevent confirmations of other members.
type confirmSlots struct {
	mu  sync.Mutex
	all map[uint64]chan struct{}
}

// confirmsMax limits the confirmations of one sender in progress.
const confirmsMax = 8

// of returns the slots of a sender: a send to the channel takes a slot, a receive frees it.
func (c *confirmSlots) of(sender uint64) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	slots := c.all[sender]
	if slots == nil {
		slots = make(chan struct{}, confirmsMax)
		if c.all == nil {
			c.all = map[uint64]chan struct{}{}
		}
		c.all[sender] = slots
	}
	return slots
}

// forget drops the slots of senders that are no longer peers.
func (c *confirmSlots) forget(keep func(id uint64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.all {
		if id != 0 && !keep(id) {
			delete(c.all, id)
		}
	}
}

// waitAtMost is a context that ends with the transport, or after the time for a connection.
func (t *Transport) waitAtMost(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(t.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
