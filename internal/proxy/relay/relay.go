// Package relay copies bytes between two connections, for proxies that forward a connection as a
// whole.
//
// It owns the copying and the forwarding of an end or an error of one direction. It does not own
// the pairing of connections.
//
// Invariants: a direction that waits for bytes holds no buffer, so that an idle connection needs
// only its goroutines; bytes are read from the sender only as fast as the receiver accepts them, so
// that flow control is end to end. (io.Copy would let the kernel copy the bytes, by a pipe for each
// direction: two descriptors and up to 64 KiB of kernel memory each, as long as the connection is
// open.)
//
// Concurrency: Both starts one goroutine and returns when both directions have ended.
package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// bufferBytes is the size of a read.
const bufferBytes = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// Both copies in both directions until both have ended. When one direction ends regularly, the end
// is forwarded and the other direction continues; an error closes both connections, since the
// missing bytes cannot be recovered. It does not close the connections otherwise. It reports
// whether b was the first to end.
func Both(a, b net.Conn) (endedByB bool) {
	var back sync.WaitGroup
	var first atomic.Pointer[net.Conn]
	back.Go(func() { direction(a, b, func() { first.CompareAndSwap(nil, &b) }) })
	direction(b, a, func() { first.CompareAndSwap(nil, &a) })
	back.Wait()
	return first.Load() == &b
}

// direction copies one direction. It calls ended before the end is forwarded.
func direction(to, from net.Conn, ended func()) {
	half, ok := to.(interface{ CloseWrite() error })
	err := Copy(to, from)
	ended()
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}

// Copy copies from one connection to another until the end. It returns nil at a regular end.
func Copy(to, from net.Conn) error {
	if raw, ok := from.(syscall.Conn); ok {
		if c, err := raw.SyscallConn(); err == nil {
			return copySocket(to, c)
		}
	}
	// Decrypted bytes have no descriptor to wait on.
	buffer := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// copySocket takes a buffer only when there is something to read.
func copySocket(to net.Conn, from syscall.RawConn) error {
	var buffer *[bufferBytes]byte
	var n int
	var failed error
	read := func(fd uintptr) bool {
		buffer = buffers.Get().(*[bufferBytes]byte)
		for {
			n, failed = unix.Read(int(fd), buffer[:])
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		if errors.Is(failed, unix.EAGAIN) {
			buffers.Put(buffer)
			return false
		}
		return true
	}
	for {
		if err := from.Read(read); err != nil {
			return err // the connection was closed, or its deadline has passed
		}
		var err error
		if failed == nil && n > 0 {
			_, err = to.Write(buffer[:n])
		}
		buffers.Put(buffer)
		switch {
		case failed != nil:
			return os.NewSyscallError("read", failed)
		case n == 0:
			return nil
		case err != nil:
			return err
		}
	}
}
