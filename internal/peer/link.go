package peer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// link is an established connection that carries frames, at either end.
type link struct {
	conn   net.Conn
	frames *frameReader
	dead   time.Duration

	tightWriteDeadline bool // writes on this end are small, and must not take longer than a sign of life may

	mu    sync.Mutex // guards out and the writing side of conn
	out   batch
	start time.Time
}

// newLink makes a link of a connection, whose frames are read through r. Reads fail when nothing
// arrives for deadAfter; writes may take any time, as long as signs of life arrive.
func newLink(conn net.Conn, r io.Reader, deadAfter time.Duration, payloadMax int) *link {
	_, writev := conn.(*net.TCPConn)
	l := &link{conn: conn, dead: deadAfter, start: time.Now()}
	l.out.refer = writev
	l.frames = newFrameReader(r, payloadMax)
	return l
}

// readTimeoutConn sets the deadline at each read, which costs less than at each frame.
type readTimeoutConn struct {
	net.Conn
	timeout time.Duration
}

func (c readTimeoutConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// send writes one frame.
func (l *link) send(k kind, pieces ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tightWriteDeadline {
		if err := l.conn.SetWriteDeadline(time.Now().Add(l.dead)); err != nil {
			return err
		}
	}
	l.out.frame(k, pieces...)
	return l.flushLocked()
}

func (l *link) flushLocked() error {
	err := l.out.writeTo(l.conn)
	l.out.reset()
	return err
}

// ping requests a pong, to measure the round-trip time.
func (l *link) ping() error {
	return l.send(kindPing, binary.BigEndian.AppendUint64(nil, uint64(time.Since(l.start))))
}

// roundTrip returns the round-trip time of a pong.
func (l *link) roundTrip(pong []byte) (d time.Duration, ok bool) {
	if len(pong) != 8 {
		return 0, false
	}
	d = time.Since(l.start) - time.Duration(binary.BigEndian.Uint64(pong))
	return d, d >= 0
}

// beat sends a sign of life at an interval, until ctx is done or the connection fails.
func (l *link) beat(ctx context.Context, every time.Duration, sign func() error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if sign() != nil {
				_ = l.conn.Close() // the reader returns the cause
				return
			}
		}
	}
}

func (l *link) alive() error { return l.send(kindAlive) }
