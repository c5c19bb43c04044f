package grpcclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"math"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

// The flow control windows for members. They are large: a response is decoded as a whole, so all of
// it must be in memory anyway.
const (
	streamWindow = 4 << 20
	connWindow   = 16 << 20
	prefaceText  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113, 3.4
	frameLenMax  = 16384
	maxStreamID  = math.MaxInt32
)

// conn is a connection to a member.
type conn struct {
	c         *Client
	nc        net.Conn
	authority string
	scheme    string
	in        *reader

	mu       sync.Mutex // guards the fields below
	calls    map[uint32]*call
	nextID   uint32
	draining bool   // no further calls
	err      *Error // why the connection has ended
	writing  bool   // a goroutine writes the output
	out      []byte
	spare    []byte
	block    bytes.Buffer // the header block of a call
	hpack    *hpack.Encoder
	window   int // bytes of DATA that may be sent
	blocked  []*call
	lastRead time.Time

	// of the member's SETTINGS
	streamsMax   uint32
	streamWindow int
	frameMax     int
}

func newConn(c *Client, nc net.Conn, authority string, secure bool) (*conn, error) {
	n := &conn{
		c: c, nc: nc, authority: authority, scheme: "http", calls: map[uint32]*call{}, nextID: 1, window: 65535,
		streamsMax: math.MaxUint32, streamWindow: 65535, frameMax: frameLenMax, lastRead: time.Now(),
	}
	if secure {
		n.scheme = "https"
	}
	n.hpack = hpack.NewEncoder(&n.block)
	n.in = newReader(n, bufio.NewReaderSize(nc, 2*frameLenMax))
	b := append(make([]byte, 0, 128), prefaceText...)
	b = appendFrame(b, 12, frameSettings, 0, 0)
	b = binary.BigEndian.AppendUint16(b, settingEnablePush)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint16(b, settingInitialWindowSize)
	b = binary.BigEndian.AppendUint32(b, streamWindow)
	b = appendWindowUpdate(b, 0, connWindow-65535)
	if err := nc.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	// a server that does not speak HTTP/2 is recognized before calls are sent to it
	if err := n.in.settings(); err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	go n.in.run()
	if c.opts.KeepaliveTime > 0 {
		go n.keepAlive(c.opts.KeepaliveTime, c.opts.KeepaliveTimeout)
	}
	return n, nil
}

// begin sends a call.
func (n *conn) begin(ctx context.Context, call *call, method string, md metadata.MD) *Error {
	n.mu.Lock()
	switch {
	case n.err != nil:
		n.mu.Unlock()
		return unavailable(true, "%s", n.err.status.Message())
	case n.draining || n.nextID > maxStreamID-2:
		n.mu.Unlock()
		n.c.lost(n, false)
		return unavailable(true, "the connection is draining")
	case uint64(len(n.calls)) >= uint64(n.streamsMax):
		n.mu.Unlock()
		return unavailable(true, "the member accepts no more than %d concurrent calls", n.streamsMax)
	}
	call.id = n.nextID
	n.nextID += 2
	call.window = n.streamWindow
	n.calls[call.id] = call
	n.headersLocked(ctx, call, method, md)
	n.dataLocked(call)
	n.flushUnlock()
	return nil
}

// headersLocked appends the HEADERS of a call.
func (n *conn) headersLocked(ctx context.Context, call *call, method string, md metadata.MD) {
	n.block.Reset()
	// a bytes.Buffer does not fail
	field := func(name, value string) { _ = n.hpack.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	field(":method", "POST")
	field(":scheme", n.scheme)
	field(":path", method)
	field(":authority", n.authority)
	field("content-type", "application/grpc")
	field("te", "trailers")
	if deadline, ok := ctx.Deadline(); ok {
		// it differs from call to call: not in the compression table
		_ = n.hpack.WriteField(hpack.HeaderField{Name: "grpc-timeout", Value: timeoutText(time.Until(deadline)), Sensitive: true})
	}
	for name, values := range md {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "grpc-") || strings.HasPrefix(name, ":") {
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			field(name, v)
		}
	}
	block := n.block.Bytes()
	kind, flags := frameHeaders, byte(0)
	for {
		part := block[:min(len(block), n.frameMax)]
		block = block[len(part):]
		if len(block) == 0 {
			flags |= flagEndHeaders
		}
		n.out = append(appendFrame(n.out, len(part), kind, flags, call.id), part...)
		if len(block) == 0 {
			return
		}
		kind = frameContinuation
	}
}

// timeoutText returns the value of grpc-timeout: at most eight digits and a unit.
func timeoutText(d time.Duration) string {
	const digitsMax = 99999999
	if d <= 0 {
		return "1u"
	}
	if us := (d + time.Microsecond - 1) / time.Microsecond; us <= digitsMax {
		return strconv.FormatInt(int64(us), 10) + "u"
	}
	if ms := (d + time.Millisecond - 1) / time.Millisecond; ms <= digitsMax {
		return strconv.FormatInt(int64(ms), 10) + "m"
	}
	return strconv.FormatInt(min(int64(d/time.Second)+1, digitsMax), 10) + "S"
}

// dataLocked appends as much DATA of a call as the windows allow. The rest waits.
func (n *conn) dataLocked(call *call) {
	for len(call.rest) > 0 {
		part := min(len(call.rest), n.frameMax, n.window, call.window)
		if part <= 0 {
			if !call.isBlocked {
				call.isBlocked = true
				n.blocked = append(n.blocked, call)
			}
			return
		}
		flags := byte(0)
		if part == len(call.rest) && call.stream == nil {
			flags = flagEndStream
		}
		n.out = append(appendFrame(n.out, part, frameData, flags, call.id), call.rest[:part]...)
		call.rest = call.rest[part:]
		n.window -= part
		call.window -= part
	}
	call.rest = nil
}

// resumeLocked continues the calls that waited for a window.
func (n *conn) resumeLocked() {
	blocked := n.blocked
	n.blocked = nil
	for _, call := range blocked {
		call.isBlocked = false
		if call.rest != nil && n.calls[call.id] == call {
			n.dataLocked(call)
		}
	}
}

// flushUnlock writes the output, unless another goroutine does, and unlocks mu. Before the first
// write it lets the other callers append their frames.
func (n *conn) flushUnlock() {
	if n.writing || len(n.out) == 0 {
		n.mu.Unlock()
		return
	}
	n.writing = true
	n.mu.Unlock()
	runtime.Gosched()
	n.mu.Lock()
	for len(n.out) > 0 && n.err == nil {
		b := n.out
		n.out, n.spare = n.spare[:0], nil
		n.mu.Unlock()
		err := n.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = n.nc.Write(b)
		}
		if err != nil {
			n.fail(unavailable(false, "error writing to server: %v", err))
		}
		n.mu.Lock()
		if cap(b) <= 64<<10 {
			n.spare = b[:0]
		}
	}
	n.writing = false
	n.mu.Unlock()
}

func (n *conn) flush() {
	n.mu.Lock()
	n.flushUnlock()
}

// cancel ends a call whose caller does not wait any longer.
func (n *conn) cancel(call *call, reason *Error) {
	n.mu.Lock()
	if n.calls[call.id] != call {
		n.mu.Unlock()
		return // it is complete
	}
	delete(n.calls, call.id)
	n.out = appendRSTStream(n.out, call.id, codeCancel)
	n.closeIdleLocked()
	call.rest = nil
	call.fail(reason)
	n.flushUnlock()
}

// fail ends the connection: the calls in progress fail.
func (n *conn) fail(err *Error) {
	n.mu.Lock()
	if n.err != nil {
		n.mu.Unlock()
		return
	}
	n.err = err
	calls := n.calls
	n.calls, n.blocked, n.out = map[uint32]*call{}, nil, nil
	idle := n.draining && len(calls) == 0
	n.mu.Unlock()
	n.nc.Close()
	n.c.lost(n, !idle)
	for _, call := range calls {
		call.fail(err)
	}
}

// drain closes the connection when its last call has ended.
func (n *conn) drain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining = true
	n.closeIdleLocked()
}

func (n *conn) closeIdleLocked() {
	if n.draining && len(n.calls) == 0 {
		n.nc.Close() // which ends the reader
	}
}

// keepAlive pings the member, and ends the connection when it does not answer.
func (n *conn) keepAlive(interval, timeout time.Duration) {
	for {
		time.Sleep(interval)
		n.mu.Lock()
		if n.err != nil {
			n.mu.Unlock()
			return
		}
		if time.Since(n.lastRead) < interval || len(n.calls) == 0 && !n.c.opts.KeepaliveWithoutCalls {
			n.mu.Unlock()
			continue
		}
		n.out = append(appendFrame(n.out, 8, framePing, 0, 0), "cairnpng"...)
		sent := time.Now()
		n.flushUnlock()
		time.Sleep(timeout)
		n.mu.Lock()
		dead := n.err == nil && n.lastRead.Before(sent)
		n.mu.Unlock()
		if dead {
			n.fail(unavailable(false, "keepalive ping failed to receive ACK within %v", timeout))
			return
		}
	}
}
