package grpcclient

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// headerBlockMax is the size above which a block of header fields is refused.
const headerBlockMax = 1 << 20

// reader reads a connection's frames. It belongs to one goroutine.
type reader struct {
	n       *conn
	in      *bufio.Reader
	decoder *hpack.Decoder

	received int // bytes of DATA since the last WINDOW_UPDATE of the connection
	// a block of header fields that continues
	block     []byte
	blockID   uint32
	blockEnds bool // it ends its stream

	fields fields // of the block that is being decoded
}

// fields are the decoded fields of a block.
type fields struct {
	http, code int // statuses; -1 without one
	message    string
	md         metadata.MD
}

func newReader(n *conn, in *bufio.Reader) *reader {
	r := &reader{n: n, in: in}
	r.decoder = hpack.NewDecoder(4096, r.field)
	r.decoder.SetMaxStringLength(headerBlockMax)
	return r
}

// frame is a frame whose payload is valid until the next one is read.
type frame struct {
	kind, flags byte
	id          uint32
	payload     []byte
	length      int // with the header
}

func (r *reader) next() (f frame, err error) {
	head, err := r.in.Peek(frameHeaderLen)
	if err != nil {
		return f, err
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if length > frameLenMax {
		return f, fmt.Errorf("a frame of %d bytes: want at most %d", length, frameLenMax)
	}
	f.kind, f.flags, f.id = head[3], head[4], binary.BigEndian.Uint32(head[5:])&maxStreamID
	f.length = frameHeaderLen + length
	all, err := r.in.Peek(f.length)
	if err != nil {
		return f, err
	}
	f.payload = all[frameHeaderLen:]
	return f, nil
}

func (r *reader) discard(f frame) { _, _ = r.in.Discard(f.length) } // they are buffered

var errNotHTTP2 = errors.New("error reading server preface: the server does not speak HTTP/2 here")

// settings reads the first frame of the server, which must be SETTINGS.
func (r *reader) settings() error {
	head, err := r.in.Peek(frameHeaderLen)
	if err == nil && head[3] != frameSettings {
		err = errNotHTTP2
	}
	if err != nil {
		return fmt.Errorf("error reading server preface: %w", err)
	}
	f, err := r.next()
	if err != nil {
		return err
	}
	defer r.discard(f)
	return r.handle(f)
}

// run reads until the connection ends.
func (r *reader) run() {
	for {
		if r.in.Buffered() < frameHeaderLen {
			r.n.mu.Lock()
			r.n.lastRead = time.Now()
			r.n.flushUnlock() // replies, before the wait
		}
		f, err := r.next()
		if err == nil {
			err = r.handle(f)
		}
		if err != nil {
			r.n.fail(unavailable(false, "error reading from server: %v", err))
			return
		}
		r.discard(f)
	}
}

// handle processes a frame. An error ends the connection.
func (r *reader) handle(f frame) error {
	if r.block != nil && f.kind != frameContinuation {
		return errors.New("a header block without its end")
	}
	switch f.kind {
	case frameData:
		return r.data(f)
	case frameHeaders, frameContinuation:
		return r.headers(f)
	case frameRSTStream:
		return r.reset(f)
	case frameSettings:
		return r.apply(f)
	case framePing:
		if len(f.payload) != 8 {
			return errors.New("a PING of the wrong size")
		}
		if f.flags&flagAck == 0 {
			r.n.mu.Lock()
			r.n.out = append(appendFrame(r.n.out, 8, framePing, flagAck, 0), f.payload...)
			r.n.mu.Unlock()
		}
	case frameGoAway:
		return r.goAway(f)
	case frameWindowUpdate:
		return r.windowUpdate(f)
	case framePushPromise:
		return errors.New("PUSH_PROMISE, which is disabled")
	}
	return nil
}

// unpad returns the payload without padding and priority.
func unpad(f frame) ([]byte, error) {
	p, pad := f.payload, 0
	if f.flags&flagPadded != 0 {
		if len(p) == 0 {
			return nil, errors.New("a padded frame without a length")
		}
		pad, p = int(p[0]), p[1:]
	}
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return nil, errors.New("HEADERS that are too short")
		}
		p = p[5:]
	}
	if pad > len(p) {
		return nil, errors.New("padding longer than the frame")
	}
	return p[:len(p)-pad], nil
}

func (r *reader) data(f frame) error {
	p, err := unpad(f)
	if err != nil {
		return err
	}
	n := r.n
	n.mu.Lock()
	if r.received += len(f.payload); r.received >= connWindow/4 {
		n.out = appendWindowUpdate(n.out, 0, uint32(r.received))
		r.received = 0
	}
	call := n.calls[f.id]
	ends := f.flags&flagEndStream != 0
	if call != nil && !ends {
		if call.received += len(f.payload); call.received >= streamWindow/4 {
			n.out = appendWindowUpdate(n.out, f.id, uint32(call.received))
			call.received = 0
		}
	}
	n.mu.Unlock()
	if call == nil {
		return nil // it was canceled
	}
	if bad := call.receive(p, n.c.opts.MaxRecvBytes); bad != nil {
		r.remove(call, func() { call.fail(bad) }, !ends)
	} else if ends {
		s := status.New(codes.Internal, "server closed the stream without sending trailers")
		r.remove(call, func() { call.finish(s) }, call.stream != nil)
	}
	return nil
}

// remove takes a call off the connection, unless its caller has done so, and completes it.
func (r *reader) remove(call *call, complete func(), reset bool) {
	n := r.n
	n.mu.Lock()
	if n.calls[call.id] != call {
		n.mu.Unlock()
		return
	}
	delete(n.calls, call.id)
	if reset || call.rest != nil {
		call.rest = nil
		n.out = appendRSTStream(n.out, call.id, codeCancel)
	}
	n.closeIdleLocked()
	n.mu.Unlock()
	complete()
}

func (r *reader) headers(f frame) error {
	p := f.payload
	if f.kind == frameHeaders {
		var err error
		if p, err = unpad(f); err != nil {
			return err
		}
		r.blockID, r.blockEnds = f.id, f.flags&flagEndStream != 0
	} else if r.block == nil || f.id != r.blockID {
		return errors.New("CONTINUATION without HEADERS")
	}
	if f.flags&flagEndHeaders == 0 || r.block != nil {
		if r.block == nil {
			r.block = []byte{}
		}
		if r.block = append(r.block, p...); len(r.block) > headerBlockMax {
			return fmt.Errorf("a header block of more than %d bytes", headerBlockMax)
		}
		if f.flags&flagEndHeaders == 0 {
			return nil
		}
		p, r.block = r.block, nil
	}
	// also of a stream that has ended, since the compression state depends on it
	r.fields = fields{http: -1, code: -1}
	if _, err := r.decoder.Write(p); err != nil {
		return err
	}
	if err := r.decoder.Close(); err != nil {
		return err
	}
	r.n.mu.Lock()
	call := r.n.calls[r.blockID]
	r.n.mu.Unlock()
	if call == nil {
		return nil
	}
	h := r.fields
	switch {
	case !r.blockEnds && h.http >= 100 && h.http < 200:
	case !r.blockEnds:
		call.begun, call.header = true, h.md
		if h.http != 200 {
			s := httpStatus(h.http)
			r.remove(call, func() { call.fail(&Error{s, false}) }, true)
		}
	default:
		call.trailer = h.md
		s := h.status(call.begun)
		r.remove(call, func() { call.finish(s) }, call.stream != nil)
	}
	return nil
}

// field is called with each decoded field.
func (r *reader) field(f hpack.HeaderField) {
	h := &r.fields
	switch f.Name {
	case ":status":
		h.http, _ = strconv.Atoi(f.Value)
	case "grpc-status":
		if n, err := strconv.Atoi(f.Value); err == nil && n >= 0 {
			h.code = n
		}
	case "grpc-message":
		h.message = f.Value
		if text, err := url.PathUnescape(f.Value); err == nil {
			h.message = text
		}
	case "content-type", "grpc-encoding", "grpc-accept-encoding":
	default:
		if h.md == nil {
			h.md = metadata.MD{}
		}
		v := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "=")); err == nil {
				v = string(b)
			}
		}
		h.md[f.Name] = append(h.md[f.Name], v)
	}
}

// status returns the status of the last block of a stream.
func (h *fields) status(begun bool) *status.Status {
	switch {
	case h.code >= 0:
		return status.New(codes.Code(h.code), h.message)
	case !begun && h.http != 200:
		return httpStatus(h.http)
	}
	return status.New(codes.Unknown, "the response has no grpc-status")
}

// httpStatus returns the status for a response that is not one of gRPC
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func httpStatus(code int) *status.Status {
	c := codes.Unknown
	switch code {
	case 400:
		c = codes.Internal
	case 401:
		c = codes.Unauthenticated
	case 403:
		c = codes.PermissionDenied
	case 404:
		c = codes.Unimplemented
	case 429, 502, 503, 504:
		c = codes.Unavailable
	}
	return status.Newf(c, "unexpected HTTP status code received from server: %d", code)
}

func (r *reader) reset(f frame) error {
	if len(f.payload) != 4 {
		return errors.New("RST_STREAM of the wrong size")
	}
	code := binary.BigEndian.Uint32(f.payload)
	r.n.mu.Lock()
	call := r.n.calls[f.id]
	r.n.mu.Unlock()
	if call == nil {
		return nil
	}
	kind := codes.Internal
	switch code {
	case codeRefusedStream:
		kind = codes.Unavailable
	case codeCancel:
		kind = codes.Canceled
	}
	bad := &Error{status.Newf(kind, "stream terminated by RST_STREAM with error code: %s", codeName(code)), code == codeRefusedStream}
	r.remove(call, func() { call.fail(bad) }, false)
	return nil
}

func (r *reader) apply(f frame) error {
	if f.flags&flagAck != 0 {
		return nil
	}
	if len(f.payload)%6 != 0 {
		return errors.New("SETTINGS of the wrong size")
	}
	n := r.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingHeaderTableSize:
			n.hpack.SetMaxDynamicTableSizeLimit(v)
		case settingMaxConcurrentStreams:
			n.streamsMax = v
		case settingInitialWindowSize:
			if v > maxStreamID {
				return errors.New("an initial window that is too large")
			}
			for _, call := range n.calls {
				call.window += int(v) - n.streamWindow
			}
			n.streamWindow = int(v)
		case settingMaxFrameSize:
			if v < frameLenMax || v > 1<<24-1 {
				return errors.New("a frame size out of range")
			}
			n.frameMax = int(v)
		}
	}
	n.out = appendFrame(n.out, 0, frameSettings, flagAck, 0)
	n.resumeLocked()
	return nil
}

func (r *reader) goAway(f frame) error {
	if len(f.payload) < 8 {
		return errors.New("GOAWAY of the wrong size")
	}
	last, code, text := binary.BigEndian.Uint32(f.payload)&maxStreamID, binary.BigEndian.Uint32(f.payload[4:]), string(f.payload[8:])
	n := r.n
	n.mu.Lock()
	n.draining = true
	var unprocessed []*call
	for id, call := range n.calls {
		if id > last {
			unprocessed = append(unprocessed, call)
			delete(n.calls, id)
		}
	}
	n.closeIdleLocked()
	n.mu.Unlock()
	n.c.lost(n, false)
	for _, call := range unprocessed {
		call.fail(unavailable(true, "received goaway: code: %s, debug data: %q", codeName(code), text))
	}
	return nil
}

func (r *reader) windowUpdate(f frame) error {
	if len(f.payload) != 4 {
		return errors.New("WINDOW_UPDATE of the wrong size")
	}
	add := int(binary.BigEndian.Uint32(f.payload) & maxStreamID)
	n := r.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.id == 0 {
		if n.window += add; n.window > maxStreamID {
			return errors.New("a window that is too large")
		}
	} else if call := n.calls[f.id]; call != nil {
		call.window += add
	}
	n.resumeLocked()
	return nil
}
