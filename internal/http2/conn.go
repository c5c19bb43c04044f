package http2

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/budget"
)

// Conn is one HTTP/2 connection.
type Conn struct {
	srv     *Server
	nc      net.Conn
	tls     *tls.ConnectionState
	closed  func()
	handler ConnHandler
	account *budget.Account

	in reader // reader-owned

	// running counts dispatched handlers (Stream.Dispatch); the writer lets them finish first, so
	// that their responses share its system call.
	running atomic.Int32
	// recvBytes counts request bytes that no handler has taken yet.
	recvBytes atomic.Int64
	// progress gets both bits when a response is sent, which resets the ping and flood counters.
	progress atomic.Uint32
	// reads counts reads that returned something, writeStart is when a write began (0: none); the
	// supervisor checks both.
	reads      atomic.Uint64
	writeStart atomic.Int64

	mu      sync.Mutex // guards everything below
	streams map[uint32]*Stream
	out     output
	// orphans counts running handlers whose stream has ended.
	orphans int
	lastID  uint32
	// goAwayID is the last stream that is served after GOAWAY; windowMax before GOAWAY.
	goAwayID  uint32
	draining  bool
	dead      bool
	err       error // why the connection failed
	drainPing bool  // the ping between the two GOAWAYs was sent
	cuts      cutStreams

	watch watchState // the supervisor's
}

const (
	progressPing uint32 = 1 << iota
	progressFlood
)

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns the address that the client connected to.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// TLS returns the state of the TLS connection, nil when there is none.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

func (c *Conn) markProgress() {
	const both = progressPing | progressFlood
	if c.progress.Load() != both {
		c.progress.Store(both)
	}
}

func newConn(s *Server, nc net.Conn, state *tls.ConnectionState, closed func()) *Conn {
	c := &Conn{srv: s, nc: nc, tls: state, closed: closed, streams: make(map[uint32]*Stream), goAwayID: windowMax}
	c.account = s.opts.Budget.Open()
	c.out.init(c)
	c.in.init()
	c.handler = s.opts.Protocol.Accept(c)
	return c
}

// serve runs the connection until it ends. The preface has been read; rest is the bytes behind it.
func (c *Conn) serve(rest []byte) {
	l := &c.srv.limits
	settings := appendSetting(nil, settingMaxConcurrentStreams, c.srv.opts.MaxConcurrentStreams)
	settings = appendSetting(settings, settingInitialWindowSize, uint32(l.window))
	settings = appendSetting(settings, settingMaxHeaderListSize, uint32(l.headerBytes))
	c.mu.Lock()
	c.out.buf = appendFrameHeader(c.out.buf, len(settings), frameSettings, 0, 0)
	c.out.buf = append(c.out.buf, settings...)
	c.out.buf = appendWindowUpdate(c.out.buf, 0, uint32(l.connWindow-defaultWindow))
	c.flushLocked(false)
	c.in.buf = append(c.in.buf[:0], rest...)
	c.read(newWorker())
}

// fail ends the connection at once because of err: every request is cancelled, the socket closed.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	c.failLocked(err)
	c.mu.Unlock()
}

func (c *Conn) failLocked(err error) {
	if c.dead {
		return
	}
	c.dead, c.err = true, err
	for _, st := range c.streams {
		c.removeLocked(st)
	}
	c.out.drop()
	if c.tls == nil {
		c.nc.Close()
	} else {
		go c.nc.Close() // may wait to send its alert, while the mutex is held
	}
	c.srv.opts.Logger.Debug("connection ended", "remote", c.nc.RemoteAddr().String(), "cause", err)
	// remove takes the server's mutex, which is never held while waiting for c.mu.
	c.srv.remove(c)
}

// removeLocked removes st from the stream table and cancels its request.
func (c *Conn) removeLocked(st *Stream) {
	if st.ended {
		return
	}
	st.ended = true
	st.closed.Store(true)
	delete(c.streams, st.id)
	if st.running {
		c.orphans++
	}
	c.out.forget(st)
	if !st.running {
		st.releaseLocked()
	}
	st.ctx.cancel(context.Canceled)
	st.hangUp()
	if c.draining && len(c.streams) == 0 {
		c.out.closeAfter = true
	}
}

// drainPingData marks the ping between the two GOAWAYs of a graceful shutdown.
var drainPingData = [8]byte{'d', 'r', 'a', 'i', 'n', 0, 0, 1}

// goAwayGracefully announces the shutdown with the highest stream number and a ping; when the ping
// is acknowledged, every request in transit has arrived and the final GOAWAY can name the last one
// (RFC 9113, 6.8). A peer that does not acknowledge gets it after a second.
func (c *Conn) goAwayGracefully() {
	c.mu.Lock()
	if c.dead || c.drainPing {
		c.mu.Unlock()
		return
	}
	c.drainPing = true
	c.out.buf = appendGoAway(c.out.buf, windowMax, errNo, "server stopping")
	c.out.buf = appendFrameHeader(c.out.buf, 8, framePing, 0, 0)
	c.out.buf = append(c.out.buf, drainPingData[:]...)
	c.mu.Unlock()
	time.AfterFunc(time.Second, c.goAwayFinally)
	c.flushOnWorker()
}

func (c *Conn) goAwayFinally() {
	c.mu.Lock()
	if c.dead || c.draining {
		c.mu.Unlock()
		return
	}
	c.draining = true
	c.goAwayID = c.lastID
	c.out.buf = appendGoAway(c.out.buf, c.lastID, errNo, "server stopping")
	if len(c.streams) == 0 {
		c.out.closeAfter = true
	}
	c.mu.Unlock()
	c.flushOnWorker()
}

// HeaderBytesMax is the limit of a request's header list (Request.TooLarge).
func (c *Conn) HeaderBytesMax() int { return c.srv.limits.headerBytes }
