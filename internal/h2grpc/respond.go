package h2grpc

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// responseEncoder is the HPACK state of what we send. Only two fields ever enter the peer's
// dynamic table, each once: "content-type: application/grpc" and "grpc-status: 0". A
// successful answer's headers are then two bytes and its trailers one, and the client has no
// strings to build. Everything else goes as literals without indexing.
type responseEncoder struct {
	tableMax    int // the smallest table the peer has allowed
	resize      bool
	contentType int // index in the dynamic table; 0: not there
	statusOK    int
}

const (
	firstDynamic  = 62
	ownTableBytes = 32 + len("content-type") + len("application/grpc") + 32 + len("grpc-status") + 1
)

// limit follows the peer's SETTINGS_HEADER_TABLE_SIZE downwards. We never need more than the
// default, so growing again is not followed.
func (e *responseEncoder) limit(n uint32) {
	if int64(n) >= int64(e.tableMax) {
		return
	}
	e.tableMax, e.resize = int(n), true
	if e.tableMax < ownTableBytes {
		e.contentType, e.statusOK = 0, 0
	}
}

// begin starts a header block.
func (e *responseEncoder) begin(b []byte) []byte {
	if e.resize {
		e.resize = false
		b = appendHPACKInt(b, 0x20, 5, e.tableMax)
	}
	return b
}

func (e *responseEncoder) grpcHead(b []byte, contentType string) []byte {
	b = append(b, 0x88) // :status 200
	switch {
	case contentType != "application/grpc":
		return appendField(b, "content-type", contentType)
	case e.contentType > 0:
		return append(b, 0x80|byte(e.contentType))
	case e.tableMax < ownTableBytes:
		return appendField(b, "content-type", contentType)
	}
	e.contentType = firstDynamic
	if e.statusOK > 0 {
		e.statusOK++
	}
	b = append(b, 0x40|31) // name 31 of the static table, value follows, to be indexed
	return appendHPACKString(b, contentType)
}

func (e *responseEncoder) ok(b []byte) []byte {
	switch {
	case e.statusOK > 0:
		return append(b, 0x80|byte(e.statusOK))
	case e.tableMax < ownTableBytes:
		return appendField(b, "grpc-status", "0")
	}
	e.statusOK = firstDynamic
	if e.contentType > 0 {
		e.contentType++
	}
	b = append(b, 0x40)
	b = appendHPACKString(b, "grpc-status")
	return appendHPACKString(b, "0")
}

func (e *responseEncoder) status(b []byte, s *status.Status) []byte {
	if s.Code() == codes.OK {
		return e.ok(b)
	}
	b = appendField(b, "grpc-status", strconv.Itoa(int(s.Code())))
	b = appendField(b, "grpc-message", percentEncode(s.Message()))
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if raw, err := proto.Marshal(p); err == nil {
			b = appendField(b, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(raw))
		}
	}
	return b
}

// appendMetadata appends a handler's metadata, without the names that belong to the protocol.
func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		name = strings.ToLower(name)
		switch kindOfName(name) {
		case fieldOther:
		default:
			continue
		}
		if name == "grpc-encoding" || name == "grpc-status-details-bin" {
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			} else if !validValue(v) {
				continue
			}
			b = appendField(b, name, v)
		}
	}
	return b
}

// appendField appends a literal field that enters no table.
func appendField(b []byte, name, value string) []byte {
	b = append(b, 0)
	b = appendHPACKString(b, name)
	return appendHPACKString(b, value)
}

func appendHPACKString(b []byte, s string) []byte {
	b = appendHPACKInt(b, 0, 7, len(s))
	return append(b, s...)
}

func appendHPACKInt(b []byte, first byte, bits uint8, v int) []byte {
	limit := 1<<bits - 1
	if v < limit {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// percentEncode writes a status message as the protocol wants it: printable ASCII but '%' as
// it is, the rest as %XX of its UTF-8 bytes; what is not UTF-8 becomes U+FFFD.
func percentEncode(msg string) string {
	plain := true
	for i := range len(msg) {
		if c := msg[i]; c < ' ' || c > '~' || c == '%' {
			plain = false
			break
		}
	}
	if plain {
		return msg
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, r := range msg { // invalid bytes come as utf8.RuneError
		var enc [utf8.UTFMax]byte
		for _, c := range enc[:utf8.EncodeRune(enc[:], r)] {
			if c < ' ' || c > '~' || c == '%' {
				b.WriteByte('%')
				b.WriteByte(hex[c>>4])
				b.WriteByte(hex[c&15])
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// finalState is how a stream ends once its queued messages are out.
type finalState struct {
	set    bool
	http   bool // no trailers: END_STREAM on an empty DATA frame
	status *status.Status
}

// headLocked sends the response headers unless they are out. It reports whether it did.
func (c *conn) headLocked(st *stream) {
	st.mu.Lock()
	if st.headSent {
		st.mu.Unlock()
		return
	}
	st.headSent = true
	md := st.header
	st.mu.Unlock()
	o := &c.out
	b := o.hpack.begin(o.block[:0])
	b = o.hpack.grpcHead(b, st.replyType())
	if st.gzipReply {
		b = appendField(b, "grpc-encoding", "gzip")
	}
	b = appendMetadata(b, md)
	o.block = b
	o.headers(st.id, b, 0)
}

// headers appends a HEADERS frame, and CONTINUATIONs when the block is longer than a frame.
func (o *output) headers(id uint32, block []byte, flags uint8) {
	typ := frameHeaders
	for {
		n := min(len(block), o.peerFrame)
		f := flags
		if n == len(block) {
			f |= flagEndHeaders
		}
		o.buf = appendFrameHeader(o.buf, n, typ, f, id)
		o.buf = append(o.buf, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return
		}
		typ, flags = frameContinuation, 0
	}
}

// finishLocked ends st with s, after what it has queued.
func (c *conn) finishLocked(st *stream, s *status.Status) {
	if st.gone || st.final.set {
		return
	}
	st.final = finalState{set: true, status: s}
	if len(st.outq) == 0 {
		c.endLocked(st)
		return
	}
	c.out.enqueue(st)
}

// endLocked writes the last frame of st and takes it out of the table.
func (c *conn) endLocked(st *stream) {
	if st.gone {
		return
	}
	o := &c.out
	if st.final.http {
		o.buf = appendFrameHeader(o.buf, 0, frameData, flagEndStream, st.id)
	} else {
		c.trailersLocked(st)
	}
	c.closeLocalLocked(st)
}

func (c *conn) trailersLocked(st *stream) {
	o := &c.out
	st.mu.Lock()
	header, trailer, sent := st.header, st.trailer, st.headSent
	st.mu.Unlock()
	if !sent && len(header) > 0 {
		c.headLocked(st)
		sent = true
	}
	b := o.hpack.begin(o.block[:0])
	if !sent {
		st.mu.Lock()
		st.headSent = true
		st.mu.Unlock()
		b = o.hpack.grpcHead(b, st.replyType())
	}
	b = o.hpack.status(b, st.final.status)
	b = appendMetadata(b, trailer)
	o.block = b
	o.headers(st.id, b, flagEndStream)
	c.noteProgress()
}

// closeLocalLocked is called when our END_STREAM is in the output. A client that has not
// ended its side is told to stop sending (RFC 9113, 8.1).
func (c *conn) closeLocalLocked(st *stream) {
	if !st.remoteDone {
		c.out.buf = appendRSTStream(c.out.buf, st.id, errNo)
		c.rememberCut(st.id)
	}
	c.removeLocked(st)
}

// resetLocked ends st with an RST_STREAM.
func (c *conn) resetLocked(st *stream, code errCode) {
	if st.gone {
		return
	}
	c.out.buf = appendRSTStream(c.out.buf, st.id, code)
	if !st.remoteDone {
		c.rememberCut(st.id)
	}
	c.removeLocked(st)
}
