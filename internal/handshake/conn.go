package handshake

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// readBytes is the size of the reads during a handshake: a client's certificate with its chain
// arrives in one of them, so that a handshake seldom waits for more turns than it has messages.
const readBytes = 4 << 10

var buffers = sync.Pool{New: func() any { return new([readBytes]byte) }}

// Conn is the connection below a server's TLS connection. During the handshake it returns the turn
// before it reads, and takes one again afterwards.
type Conn struct {
	net.Conn
	turns *Turns

	head   []byte           // read and not yet returned by Read
	buffer *[readBytes]byte // has the head; nil when the head is the caller's

	handshake *progress // nil before and after the handshake
}

// progress is the state of a handshake that is in progress.
type progress struct {
	ctx    context.Context
	begun  bool        // it has had a turn
	taken  bool        // it has a turn
	since  time.Time   // the beginning of the turn
	slice  threadSlice // of the thread that computes in the turn
	failed error       // the reason why it has no turn
}

// Conn returns a connection of which head has been read already.
func (t *Turns) Conn(nc net.Conn, head []byte) *Conn { return &Conn{Conn: nc, turns: t, head: head} }

// NetConn returns the underlying connection, as that of crypto/tls does: package http1 waits on its
// socket while a request is parked.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// connKey is the context key of the Conn whose handshake is in progress.
type connKey struct{}

// Handshake makes the handshake of a server's connection that was made with c. Its error is ErrBusy
// when the handshake got no turn.
func (c *Conn) Handshake(ctx context.Context, inner *tls.Conn) error {
	h := &progress{ctx: ctx}
	c.handshake = h
	err := inner.HandshakeContext(context.WithValue(ctx, connKey{}, c))
	c.release()
	c.handshake = nil
	if h.failed != nil {
		return h.failed
	}
	return err
}

// WithoutTurn calls f, which waits for something outside the process, such as a name server. ctx is
// the context of a handshake: the handshake returns its turn for that time. Without a turn, f is
// just called.
func WithoutTurn(ctx context.Context, f func()) error {
	c, ok := ctx.Value(connKey{}).(*Conn)
	if !ok || c.handshake == nil || !c.handshake.taken {
		f()
		return nil
	}
	c.release()
	f()
	return c.acquire()
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.head) == 0 && c.handshake == nil {
		return c.Conn.Read(p)
	}
	if len(c.head) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	if h := c.handshake; h != nil && !h.taken {
		if err := c.acquire(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.head)
	if c.head = c.head[n:]; len(c.head) == 0 {
		// an empty slice would keep the whole array as long as the connection lasts
		c.head = nil
		c.recycle()
	}
	return n, nil
}

// fill reads from the connection, without a turn.
func (c *Conn) fill() error {
	c.release()
	c.buffer = buffers.Get().(*[readBytes]byte)
	n, err := c.Conn.Read(c.buffer[:])
	c.head = c.buffer[:n]
	if n > 0 {
		return nil // an error is returned again by the next read
	}
	c.head = nil
	c.recycle()
	return err
}

func (c *Conn) recycle() {
	if c.buffer != nil {
		buffers.Put(c.buffer)
		c.buffer = nil
	}
}

// acquire takes a turn.
func (c *Conn) acquire() error {
	h := c.handshake
	if err := c.turns.take(h.ctx, hostOf(c.RemoteAddr()), h.begun); err != nil {
		h.failed = err
		return err
	}
	h.begun, h.taken, h.since = true, true, time.Now()
	h.slice.lengthen()
	return nil
}

// release returns the turn, if the handshake has one.
func (c *Conn) release() {
	if h := c.handshake; h != nil && h.taken {
		h.taken = false
		h.slice.restore()
		c.turns.giveAfter(restOf(time.Since(h.since)))
	}
}
