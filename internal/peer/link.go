package peer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// link is an established connection that carries frames, at either end of it.
type link struct {
	conn   net.Conn
	frames *frameReader
	dead   time.Duration

	hasty bool // what is written here is little, and must not take longer than a sign of life may

	mu    sync.Mutex // guards out and the writing side of conn
	out   batch
	start time.Time
}

// newLink makes a link of a connection, whose frames are read through r. Reads fail when nothing
// comes for a time; writes of ours may take as long as they need, as long as signs of life come
// back.
func newLink(conn net.Conn, r io.Reader, deadAfter time.Duration, payloadMax int) *link {
	_, writev := conn.(*net.TCPConn)
	l := &link{conn: conn, dead: deadAfter, start: time.Now()}
	l.out.refer = writev
	l.frames = newFrameReader(r, payloadMax)
	return l
}

// patientConn gives each read its own time, which costs less than doing it for each frame.
type patientConn struct {
	net.Conn
	patience time.Duration
}

func (c patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// send writes one frame.
func (l *link) send(k kind, pieces ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hasty {
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

// ping asks for a pong that tells how long the way there and back takes.
func (l *link) ping() error {
	return l.send(kindPing, binary.BigEndian.AppendUint64(nil, uint64(time.Since(l.start))))
}

// roundTrip reads what a pong says.
func (l *link) roundTrip(pong []byte) (d time.Duration, ok bool) {
	if len(pong) != 8 {
		return 0, false
	}
	d = time.Since(l.start) - time.Duration(binary.BigEndian.Uint64(pong))
	return d, d >= 0
}

// beat shows the other end regularly that this one is there, until ctx is done or the connection
// fails.
func (l *link) beat(ctx context.Context, every time.Duration, sign func() error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if sign() != nil {
				_ = l.conn.Close() // the reader says why
				return
			}
		}
	}
}

func (l *link) alive() error { return l.send(kindAlive) }
