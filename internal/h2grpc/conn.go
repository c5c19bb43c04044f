package h2grpc

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// noContext is where values are put that only have to be found by their key again.
var noContext = context.Background()

// conn is one HTTP/2 connection.
type conn struct {
	srv *Server
	nc  net.Conn
	tls *tls.ConnectionState

	peerOnce sync.Once
	peerVal  any

	in reader // reader-owned

	// running counts handlers of unary calls; the writer lets them finish first, so that
	// their answers share its system call.
	running atomic.Int32
	// recvBytes counts message bytes that no handler has taken yet.
	recvBytes atomic.Int64
	// progress gets both bits when an answer goes out, which resets the ping and flood counters.
	progress atomic.Uint32
	// reads counts reads that returned something, writeStart is when a write began (0: none);
	// the janitor looks at both.
	reads      atomic.Uint64
	writeStart atomic.Int64

	mu      sync.Mutex // guards everything below
	streams map[uint32]*stream
	out     output
	// orphans counts handlers that still run although their stream has gone.
	orphans int
	lastID  uint32
	// goAwayID is the last stream that is served after GOAWAY; windowMax before.
	goAwayID  uint32
	draining  bool
	dead      bool
	err       error // why it is dead
	drainPing bool  // the ping between the two GOAWAYs is out
	// cuts is a ring of streams that we ended before their client did.
	cuts    []uint32
	cutNext int

	watch watchState // the janitor's alone
}

const (
	progressPing uint32 = 1 << iota
	progressFlood
)

func (c *conn) noteProgress() {
	const both = progressPing | progressFlood
	if c.progress.Load() != both {
		c.progress.Store(both)
	}
}

func newConn(s *Server, nc net.Conn, state *tls.ConnectionState) *conn {
	c := &conn{srv: s, nc: nc, tls: state, streams: make(map[uint32]*stream), goAwayID: windowMax}
	c.out.init(c)
	c.in.init(s)
	return c
}

// serve runs the connection until it ends. The preface has been read; rest is what came after it.
func (c *conn) serve(rest []byte) {
	if !c.srv.addConn(c) {
		c.nc.Close()
		return
	}
	o := &c.srv.opts
	settings := appendSetting(nil, settingMaxConcurrentStreams, o.MaxConcurrentStreams)
	settings = appendSetting(settings, settingInitialWindowSize, uint32(o.InitialWindow))
	settings = appendSetting(settings, settingMaxHeaderListSize, uint32(o.MaxHeaderBytes))
	c.mu.Lock()
	c.out.buf = appendFrameHeader(c.out.buf, len(settings), frameSettings, 0, 0)
	c.out.buf = append(c.out.buf, settings...)
	c.out.buf = appendWindowUpdate(c.out.buf, 0, uint32(o.InitialConnWindow-defaultWindow))
	c.flushLocked(false)
	c.in.buf = append(c.in.buf[:0], rest...)
	c.read(newWorker())
}

// fail ends the connection at once with err: every call is cancelled, the socket closed.
func (c *conn) fail(err error) {
	c.mu.Lock()
	c.failLocked(err)
	c.mu.Unlock()
}

func (c *conn) failLocked(err error) {
	if c.dead {
		return
	}
	c.dead, c.err = true, err
	for _, st := range c.streams {
		c.removeLocked(st)
	}
	c.out.drop()
	c.out.room.Broadcast()
	if c.tls == nil {
		c.nc.Close()
	} else {
		go c.nc.Close() // may wait to send its alert, and the mutex is held
	}
	c.srv.opts.Logger.Debug("connection ended", "remote", c.nc.RemoteAddr().String(), "cause", err)
	// removeConn takes the server's mutex, which nobody holds while waiting for ours.
	c.srv.removeConn(c)
}

// removeLocked takes st out of the stream table and cancels its call.
func (c *conn) removeLocked(st *stream) {
	if st.gone {
		return
	}
	st.gone = true
	delete(c.streams, st.id)
	if st.running {
		c.orphans++
	}
	c.out.forget(st)
	st.ctx.cancel(context.Canceled)
	st.hangUp()
	if c.draining && len(c.streams) == 0 {
		c.out.closeAfter = true
	}
}

// peerValue returns what peer.FromContext looks for.
func (c *conn) peerValue() any {
	c.peerOnce.Do(func() {
		p := &peer.Peer{Addr: c.nc.RemoteAddr(), LocalAddr: c.nc.LocalAddr()}
		if c.tls != nil {
			p.AuthInfo = credentials.TLSInfo{
				State:          *c.tls,
				CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
			}
		}
		c.peerVal = peer.NewContext(noContext, p).Value(keyPeer)
	})
	return c.peerVal
}

// drainPingData marks the ping between the two GOAWAYs of a graceful end.
var drainPingData = [8]byte{'d', 'r', 'a', 'i', 'n', 0, 0, 1}

// goAwayGracefully announces the end with the highest stream number and a ping; when the ping
// comes back, every call that was on its way has arrived and the final GOAWAY can name the
// last one (RFC 9113, 6.8). A peer that does not answer gets it after a second.
func (c *conn) goAwayGracefully() {
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
	c.flushAside()
}

func (c *conn) goAwayFinally() {
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
	c.flushAside()
}
