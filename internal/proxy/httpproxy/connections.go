package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"cairn/internal/proxy/relay"
)

// Connections forwards connections as a whole: it is the engine for HTTP/2 of a portmux.Server.
// Each client's connection has one to a member.
type Connections struct {
	proxy *Proxy

	mu       sync.Mutex // guards the fields below
	stopping bool
	open     map[net.Conn]struct{} // of clients
	empty    chan struct{}         // closed when stopping and no connection is open
	ended    context.Context       // ends with Close
	end      context.CancelFunc
}

// Connections returns an engine for HTTP/2.
func (p *Proxy) Connections() *Connections {
	c := &Connections{proxy: p, open: make(map[net.Conn]struct{}), empty: make(chan struct{})}
	c.ended, c.end = context.WithCancel(context.Background())
	return c
}

// ServeConn forwards a connection of which head has already been read. It returns when both
// directions have ended.
func (c *Connections) ServeConn(client net.Conn, head []byte, _ *tls.ConnectionState, closed func()) {
	defer closed()
	defer client.Close()
	if !c.add(client) {
		return
	}
	defer c.remove(client)
	member, err := c.dial(head)
	if err != nil {
		// A client whose connection is closed waits before it connects again; one that is sent
		// GOAWAY with the reason would not.
		c.proxy.Logger.Debug("no member can be reached", "client", client.RemoteAddr().String(), "error", err)
		return
	}
	defer member.Close()
	stop := context.AfterFunc(c.ended, func() { client.Close(); member.Close() })
	defer stop()
	if relay.Both(client, member) && c.ended.Err() == nil {
		c.proxy.leader.needed.Store(true) // the member may have died with its calls
	}
}

// dial connects to one member after the other until one accepts the client's first bytes.
func (c *Connections) dial(head []byte) (net.Conn, error) {
	c.proxy.awaitLeader(c.ended)
	members, tried := c.proxy.members.attempts(), 0
	var last error
	for e := members.next(); e != nil; e = members.next() {
		tried++
		member, err := c.proxy.dial(c.ended, e, "h2")
		if err == nil {
			if _, err = member.Write(head); err == nil {
				return member, nil
			}
			member.Close()
		}
		last = err
		if c.ended.Err() != nil {
			break
		}
		c.proxy.members.fail(e, err)
	}
	return nil, unavailable(tried, last)
}

func (c *Connections) add(client net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return false
	}
	c.open[client] = struct{}{}
	return true
}

func (c *Connections) remove(client net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, client)
	c.signalLocked()
}

func (c *Connections) signalLocked() {
	if !c.stopping || len(c.open) > 0 {
		return
	}
	select {
	case <-c.empty:
	default:
		close(c.empty)
	}
}

var errClosedWithStreams = errors.New("closed connections that had not ended")

// Drain refuses further connections. A proxy cannot ask a client to disconnect: it does not know
// the boundaries of frames.
func (c *Connections) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.signalLocked()
}

// Shutdown waits until all connections have ended, and closes them when ctx ends before that.
func (c *Connections) Shutdown(ctx context.Context) error {
	c.Drain()
	select {
	case <-c.empty:
		return nil
	case <-ctx.Done():
	}
	c.Close()
	return errClosedWithStreams
}

// Close closes all connections, and waits until they have ended.
func (c *Connections) Close() {
	c.mu.Lock()
	c.stopping = true
	c.signalLocked()
	c.mu.Unlock()
	c.end()
	<-c.empty
}
