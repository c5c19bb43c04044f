package tcpproxy

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Limits of an event loop.
const (
	loopBufferBytes = 64 << 10
	loopEvents      = 128
	// loopReads is the number of full buffers that are read from one connection before the others
	// are served.
	loopReads = 8
	// loopProcessors is the number of processors for each event loop: more loops have fewer events
	// in a turn.
	loopProcessors = 4
)

// loops are the event loops of a proxy. New connections go to them in turn.
type loops struct {
	all []*loop

	mu   sync.Mutex
	next int
}

// newLoops starts the event loops.
func newLoops() (*loops, error) {
	l := new(loops)
	for range (runtime.GOMAXPROCS(0) + loopProcessors - 1) / loopProcessors {
		one, err := newLoop()
		if err != nil {
			l.close()
			return nil, err
		}
		l.all = append(l.all, one)
	}
	return l, nil
}

// forward forwards between two connections until both directions have ended, and then calls done.
// It takes over the connections. It reports false, and does nothing, if an event loop cannot do it.
func (l *loops) forward(a, b net.Conn, done func()) bool {
	l.mu.Lock()
	l.next++
	one := l.all[l.next%len(l.all)]
	l.mu.Unlock()
	return one.forward(a, b, done)
}

// force ends all connections.
func (l *loops) force() {
	for _, one := range l.all {
		one.force()
	}
}

// close ends the event loops, which must have no connections.
func (l *loops) close() {
	for _, one := range l.all {
		one.close()
	}
}

// loop forwards between pairs of sockets on one goroutine, which waits in epoll_wait.
//
// Go's own poller costs a switch of goroutines for each direction of each message, and a read that
// returns EAGAIN. Here, a message costs a read, a write, and its share of an epoll_wait. A read
// that does not fill the buffer has read everything: the event has reported whether the end follows
// (EPOLLRDHUP), and bytes that arrive later cause another event, since events are edge-triggered.
type loop struct {
	epoll, wake int
	ended       chan struct{}
	buffer      [loopBufferBytes]byte
	again       []*socket // sockets with more to read after loopReads reads

	mu      sync.Mutex        // guards the fields below
	sockets map[int32]*socket // by descriptor; a closed one is not in it
	forced  bool              // further connections are closed at once
}

// socket is one end of a forwarded connection. The loop's goroutine owns the fields, except fd.
type socket struct {
	fd       int
	peer     *socket
	done     func() // of the pair
	readable bool   // there may be more to read
	finished bool   // EPOLLRDHUP or EPOLLHUP: the remote side sends no more
	ended    bool   // the end was read and forwarded to peer
	// bytes that the socket has not accepted yet; peer is not read until they are written
	out    []byte
	waits  bool // the socket is in loop.again
	closed bool
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &loop{epoll: epoll, wake: wake, ended: make(chan struct{}), sockets: map[int32]*socket{}}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		_, _ = unix.Close(epoll), unix.Close(wake)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	go l.run()
	return l, nil
}

// take returns a descriptor of a connection's socket that is not in Go's poller.
func take(c net.Conn) (fd int, ok bool) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return -1, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, false
	}
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, err == nil && failed == nil
}

func (l *loop) forward(a, b net.Conn, done func()) bool {
	fdA, ok := take(a)
	if !ok {
		return false
	}
	fdB, ok := take(b)
	if !ok {
		_ = unix.Close(fdA)
		return false
	}
	_, _ = a.Close(), b.Close() // the sockets stay open
	one, two := &socket{fd: fdA, done: done}, &socket{fd: fdB}
	one.peer, two.peer = two, one
	two.done = done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forced {
		l.closeLocked(one)
		return true
	}
	l.sockets[int32(one.fd)], l.sockets[int32(two.fd)] = one, two
	switch {
	case l.add(one) != nil:
		l.closeLocked(one)
	case l.add(two) != nil:
		// The loop's goroutine may have an event of the first one already: it closes the pair.
		_ = unix.Shutdown(one.fd, unix.SHUT_RDWR)
		_ = unix.Shutdown(two.fd, unix.SHUT_RDWR)
	}
	return true
}

// add makes the loop wait for events of a socket.
func (l *loop) add(s *socket) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(s.fd)}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &e)
}

// force shuts all sockets down, so that the loop's goroutine closes them.
func (l *loop) force() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forced = true
	for _, s := range l.sockets {
		// a socket that is not connected has its event already
		_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
	}
}

// close ends the loop's goroutine.
func (l *loop) close() {
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-l.ended
	_, _ = unix.Close(l.epoll), unix.Close(l.wake)
}

func (l *loop) run() {
	defer close(l.ended)
	events := make([]unix.EpollEvent, loopEvents)
	var ready []*socket
	for {
		wait := -1
		if len(l.again) > 0 {
			wait = 0
		}
		n, err := unix.EpollWait(l.epoll, events, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			// the only causes are a closed descriptor and a bad argument
			panic(fmt.Sprintf("epoll_wait: %v", err))
		}
		ready = ready[:0]
		l.mu.Lock()
		for i := range max(n, 0) {
			e := &events[i]
			if e.Fd == int32(l.wake) {
				l.mu.Unlock()
				return
			}
			if s := l.sockets[e.Fd]; s != nil {
				s.readable = s.readable || e.Events&^unix.EPOLLOUT != 0
				s.finished = s.finished || e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
				ready = append(ready, s)
			}
		}
		l.mu.Unlock()
		rest := l.again
		l.again = nil
		for _, s := range ready {
			l.flush(s)
			l.pump(s)
		}
		for _, s := range rest {
			s.waits = false
			l.pump(s)
		}
	}
}

// flush writes the bytes that a socket did not accept before, and then reads from its peer again.
func (l *loop) flush(s *socket) {
	if len(s.out) == 0 || s.closed {
		return
	}
	n, err := write(s.fd, s.out)
	if err != nil {
		l.closePair(s)
		return
	}
	if s.out = s.out[n:]; len(s.out) == 0 {
		s.out = nil
		l.pump(s.peer)
	}
}

// pump reads from a socket, and writes to its peer.
func (l *loop) pump(s *socket) {
	for turn := 0; s.readable && len(s.peer.out) == 0 && !s.closed && !s.ended; turn++ {
		if turn == loopReads {
			if !s.waits {
				s.waits = true
				l.again = append(l.again, s)
			}
			return
		}
		n, err := unix.Read(s.fd, l.buffer[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			s.readable = false
			return
		case err != nil:
			l.closePair(s)
			return
		case n == 0:
			l.end(s)
			return
		}
		written, err := write(s.peer.fd, l.buffer[:n])
		if err != nil {
			l.closePair(s)
			return
		}
		if written < n {
			s.peer.out = append([]byte(nil), l.buffer[written:n]...)
		}
		if n < len(l.buffer) && !s.finished {
			s.readable = false
		}
	}
}

// end forwards the end of a socket's input to its peer.
func (l *loop) end(s *socket) {
	s.ended = true
	if s.peer.ended || unix.Shutdown(s.peer.fd, unix.SHUT_WR) != nil {
		l.closePair(s)
	}
}

// write writes as much as a socket accepts.
func write(fd int, b []byte) (written int, err error) {
	for written < len(b) {
		n, err := unix.Write(fd, b[written:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return written, nil
		case err != nil:
			return written, err
		}
		written += n
	}
	return written, nil
}

func (l *loop) closePair(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeLocked(s)
}

func (l *loop) closeLocked(s *socket) {
	if s.closed {
		return
	}
	for _, one := range []*socket{s, s.peer} {
		one.closed, one.out = true, nil
		delete(l.sockets, int32(one.fd))
		_ = unix.Close(one.fd)
	}
	s.done()
}
