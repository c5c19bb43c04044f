package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cairn/internal/budget"

	"golang.org/x/sys/unix"
)

// bufferBytes is the size of a read. A longer head grows the buffer; a longer body does not pass
// through it.
const bufferBytes = 4 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferBytes); return &b }}

// socket reads and writes a connection, and has the buffer of bytes read ahead.
//
// On a plain connection it makes the system calls itself, through syscall.RawConn, which tries,
// waits until the connection is ready and tries again. So a buffer is held only while it has bytes,
// and a deadline is set only when a call has to wait, which is rare.
type socket struct {
	nc  net.Conn
	raw syscall.RawConn // nil for other connections, such as TLS
	// below is the kernel's connection: raw, or the one under a TLS connection; nil if unknown.
	// Parked requests wait on it.
	below syscall.RawConn

	buf     *[]byte // nil while no bytes are read ahead
	r, w    int     // (*buf)[r:w] are the bytes read ahead
	account *budget.Account
	taken   atomic.Int64 // from it, for a buffer larger than bufferBytes

	reading readCall
	writing writeCall
	// The calls above as functions, so that a call allocates no closure.
	tryRead, tryWrite func(fd uintptr) bool
}

// hungUp reports whether the other end of a TCP connection has closed it, as far as the kernel
// knows. It reads nothing.
func (s *socket) hungUp() (closed bool) {
	if s.below == nil {
		return false
	}
	err := s.below.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return err != nil || closed
}

// readCall has the arguments and the result of a read.
type readCall struct {
	into  []byte // nil means the buffer
	limit time.Duration
	armed bool // a deadline was set
	n     int
	err   error
}

type writeCall struct {
	rest  []byte
	limit time.Duration
	rate  int64 // minimum rate, in bytes per second
	pace  budget.Pace
	since time.Time // when waiting began; zero while it has not
	left  int       // len(rest) at that time
	armed bool
	err   error
}

func (s *socket) init(nc net.Conn, account *budget.Account) {
	s.nc, s.account = nc, account
	s.tryRead, s.tryWrite = s.readReady, s.writeReady
	switch plain := nc.(type) {
	case *net.TCPConn:
		s.raw, _ = plain.SyscallConn() // if nil, the connection's own methods are used
		s.below = s.raw
	case *net.UnixConn:
		s.raw, _ = plain.SyscallConn()
		s.below = s.raw
	default:
		s.below = kernelConn(nc)
	}
}

// kernelConn returns the kernel's connection under a TLS connection, or nil.
func kernelConn(nc net.Conn) syscall.RawConn {
	for {
		wrapper, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = wrapper.NetConn()
	}
	switch plain := nc.(type) {
	case *net.TCPConn:
		raw, _ := plain.SyscallConn() // nil if there is an error
		return raw
	case *net.UnixConn:
		raw, _ := plain.SyscallConn()
		return raw
	}
	return nil
}

// awaitBytes waits until the kernel has bytes to read, the client has disconnected, or the read
// deadline. It reads nothing, and needs no buffer.
func (s *socket) awaitBytes() error {
	var piece [1]byte
	return s.below.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), piece[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
}

// prepend puts bytes that the caller has read into the buffer, which must be empty.
func (s *socket) prepend(head []byte) {
	s.take()
	if len(head) > len(*s.buf) {
		grown := make([]byte, len(head))
		s.buf = &grown
	}
	s.w = copy(*s.buf, head)
}

func (s *socket) ahead() []byte {
	if s.buf == nil {
		return nil
	}
	return (*s.buf)[s.r:s.w]
}

// skip discards n of the bytes that were read ahead.
func (s *socket) skip(n int) {
	if s.r += n; s.r == s.w {
		s.drop()
	}
}

// take takes a buffer from the pool unless there is one.
func (s *socket) take() {
	if s.buf == nil {
		s.buf = buffers.Get().(*[]byte)
		s.r, s.w = 0, 0
	}
}

// drop returns an empty buffer to the pool.
func (s *socket) drop() {
	if s.buf != nil && len(*s.buf) == bufferBytes {
		buffers.Put(s.buf)
	}
	s.buf, s.r, s.w = nil, 0, 0
	s.release()
}

// release gives back what was taken for the buffer: once it is empty, or the connection is closed.
func (s *socket) release() { s.account.Give(s.taken.Swap(0)) }

// grow enlarges a full buffer, up to limit bytes, and reports whether it could.
func (s *socket) grow(limit int) bool {
	switch {
	case s.buf == nil || s.w < len(*s.buf):
	case s.r > 0:
		s.w = copy(*s.buf, (*s.buf)[s.r:s.w])
		s.r = 0
	case len(*s.buf) >= limit:
		return false
	default:
		size := min(2*len(*s.buf), limit)
		if !s.account.TryTake(int64(size)) {
			return false
		}
		grown := make([]byte, size)
		ahead := copy(grown, s.ahead())
		s.drop()
		s.buf, s.w = &grown, ahead
		s.taken.Store(int64(size))
	}
	return true
}

// fill reads at least a byte into the buffer, which must have space. It waits at most limit; 0
// means no limit.
func (s *socket) fill(limit time.Duration) error {
	_, err := s.read(nil, limit)
	return err
}

// read reads at least a byte into p, or into the buffer when p is nil.
func (s *socket) read(p []byte, limit time.Duration) (int, error) {
	call := &s.reading
	*call = readCall{into: p, limit: limit}
	var err error
	if s.raw != nil {
		err = s.raw.Read(s.tryRead)
	} else {
		s.readNet()
	}
	if call.armed {
		err = errors.Join(err, s.nc.SetReadDeadline(time.Time{}))
	}
	if err == nil {
		err = call.err
	}
	n := call.n
	*call = readCall{}
	if p == nil {
		s.w += n
		if err != nil && s.r == s.w {
			s.drop()
		}
	}
	return n, err
}

// readReady is called when the connection may have something to read. It reports whether the call
// is done.
func (s *socket) readReady(fd uintptr) bool {
	call := &s.reading
	into := call.into
	if into == nil {
		s.take()
		into = (*s.buf)[s.w:]
	}
	n, err := retryRead(int(fd), into)
	switch {
	case errors.Is(err, unix.EAGAIN):
		if s.buf != nil && s.r == s.w {
			s.drop()
		}
		call.arm(s.nc)
		return false
	case err != nil:
		call.err = &net.OpError{Op: "read", Net: "tcp", Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		call.err = io.EOF
	default:
		call.n = n
	}
	return true
}

func retryRead(fd int, p []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, p); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// arm sets the deadline of a call that has to wait.
func (call *readCall) arm(nc net.Conn) {
	if call.limit > 0 && !call.armed {
		call.armed = true
		// fails only on a closed connection, as the read then does
		_ = nc.SetReadDeadline(time.Now().Add(call.limit))
	}
}

// readNet is readReady for a connection that is not plain.
func (s *socket) readNet() {
	call := &s.reading
	into := call.into
	if into == nil {
		s.take()
		into = (*s.buf)[s.w:]
	}
	call.arm(s.nc)
	call.n, call.err = s.nc.Read(into)
	if call.n > 0 {
		call.err = nil // the next call returns the error again
	}
}

// writePiece is the size of a write where the connection's own deadline is used: a slow client must
// read that much within the limit.
const writePiece = 64 << 10

// write writes all of p. It waits at most limit (0: no limit) until the client reads some more;
// less when the client has read fewer than rate bytes per second.
func (s *socket) write(p []byte, limit time.Duration, rate int64) (err error) {
	call := &s.writing
	*call = writeCall{rest: p, limit: limit, rate: rate}
	if s.raw != nil {
		err = s.raw.Write(s.tryWrite)
	} else {
		s.writeNet()
	}
	if call.armed {
		err = errors.Join(err, s.nc.SetWriteDeadline(time.Time{}))
	}
	if err == nil {
		err = call.err
	}
	*call = writeCall{}
	return err
}

func (s *socket) writeReady(fd uintptr) bool {
	call := &s.writing
	for len(call.rest) > 0 {
		n, err := unix.Write(int(fd), call.rest)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			call.arm(s.nc)
			return false
		case err != nil:
			call.err = &net.OpError{Op: "write", Net: "tcp", Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(), Err: os.NewSyscallError("write", err)}
			return true
		default:
			call.rest = call.rest[n:]
		}
	}
	return true
}

// arm sets the deadline of a call that has to wait. Each wait has a new deadline, because
// bytes were written after the previous one.
func (call *writeCall) arm(nc net.Conn) {
	if call.limit == 0 {
		return
	}
	now := time.Now()
	if call.armed {
		call.pace.Add(now.Sub(call.since), call.left-len(call.rest))
	}
	call.armed, call.since, call.left = true, now, len(call.rest)
	// fails only on a closed connection, as the write then does
	_ = nc.SetWriteDeadline(now.Add(call.pace.Limit(call.limit, call.rate)))
}

func (s *socket) writeNet() {
	call := &s.writing
	for len(call.rest) > 0 && call.err == nil {
		call.arm(s.nc)
		var n int
		n, call.err = s.nc.Write(call.rest[:min(len(call.rest), writePiece)])
		call.rest = call.rest[n:]
	}
}
