package grpcserver

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/internal/http2"
)

// The two fields of nearly every response: with them in the client's compression table, a
// successful response's headers are two bytes and its trailers one.
var (
	fieldContentType = &http2.IndexedField{Name: "content-type", Value: "application/grpc"}
	fieldStatusOK    = &http2.IndexedField{Name: "grpc-status", Value: "0"}
)

// statusOf turns a handler's error into a status, context errors into their codes.
func statusOf(err error) *status.Status {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	if s.Code() == codes.OK {
		// An error with the code OK would be a response without a message.
		s = status.New(codes.Unknown, err.Error())
	}
	return s
}

// Unexecuted is implemented by errors of unary handlers whose request has certainly not been
// executed. The client gets REFUSED_STREAM instead of the status, so that it sends the call again.
// The server must have sent GOAWAY before, since otherwise the client would use this connection
// again.
type Unexecuted interface {
	error
	Unexecuted()
}

func isUnexecuted(err error) bool {
	var u Unexecuted
	return err != nil && errors.As(err, &u)
}

// unknownMethod returns, in grpc-go's text, which part of path is unknown.
func (s *Server) unknownMethod(path string) *status.Status {
	name, ok := strings.CutPrefix(path, "/")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	}
	if _, known := s.services[name[:slash]]; !known {
		return status.Newf(codes.Unimplemented, "unknown service %v", name[:slash])
	}
	return status.Newf(codes.Unimplemented, "unknown method %v for service %v", name[slash+1:], name[:slash])
}

// headLocked sends the response headers unless they were sent.
func (c *call) headLocked() {
	c.mu.Lock()
	if c.headSent {
		c.mu.Unlock()
		return
	}
	c.headSent = true
	md := c.header
	c.mu.Unlock()
	b := c.appendHead(c.BeginLocked())
	if c.gzipReply {
		b = http2.AppendField(b, "grpc-encoding", "gzip")
	}
	c.HeadersLocked(appendMetadata(b, md), false)
}

// appendHead appends the fields that begin every response.
func (c *call) appendHead(b []byte) []byte {
	b = http2.AppendStatus(b, 200)
	if t := c.replyType(); t != fieldContentType.Value {
		return http2.AppendField(b, fieldContentType.Name, t)
	}
	return c.AppendIndexedLocked(b, fieldContentType)
}

// replyType is the content-type of the response, with the request's subtype.
func (c *call) replyType() string {
	if ct := c.head.contentType; IsGRPC(ct) {
		ct, _, _ = strings.Cut(ct, ";")
		return ct
	}
	return fieldContentType.Value
}

// AppendEnd implements http2.Handler: it appends the trailers.
func (c *call) AppendEnd() {
	c.mu.Lock()
	header, trailer, sent := c.header, c.trailer, c.headSent
	c.mu.Unlock()
	if !sent && len(header) > 0 {
		c.headLocked()
		sent = true
	}
	b := c.BeginLocked()
	if !sent {
		c.mu.Lock()
		c.headSent = true
		c.mu.Unlock()
		if c.refusedHTTP != 0 {
			b = http2.AppendStatus(b, c.refusedHTTP)
			b = http2.AppendField(b, fieldContentType.Name, fieldContentType.Value)
		} else {
			b = c.appendHead(b)
		}
	}
	if c.final.Code() == codes.OK {
		b = c.AppendIndexedLocked(b, fieldStatusOK)
	} else {
		b = appendStatus(b, c.final)
	}
	c.HeadersLocked(appendMetadata(b, trailer), true)
}

// appendStatus appends the fields of a status that is not OK.
func appendStatus(b []byte, s *status.Status) []byte {
	b = http2.AppendField(b, "grpc-status", strconv.Itoa(int(s.Code())))
	b = http2.AppendField(b, "grpc-message", percentEncode(shorten(s.Message())))
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if raw, err := proto.Marshal(p); err == nil {
			b = http2.AppendField(b, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(raw))
		}
	}
	return b
}

// messageMax is the maximum length of a status message: more could exceed the header limits of
// proxies and clients, and messages may quote the client's input.
const messageMax = 4 << 10

func shorten(msg string) string {
	if len(msg) <= messageMax {
		return msg
	}
	return strings.ToValidUTF8(msg[:messageMax], "") + "…"
}

// appendMetadata appends a handler's metadata, without names that the protocol reserves.
func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		name = strings.ToLower(name)
		switch name {
		case "content-type", "user-agent", "te", "grpc-timeout", "grpc-encoding", "grpc-message-type",
			"grpc-message", "grpc-status", "grpc-status-details-bin":
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			if http2.Sendable(name, v) {
				b = http2.AppendField(b, name, v)
			}
		}
	}
	return b
}

// percentEncode encodes a status message as the protocol requires: printable ASCII except '%'
// unchanged, the rest as %XX of its UTF-8 bytes; invalid UTF-8 becomes U+FFFD.
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
	for _, r := range msg { // invalid bytes become utf8.RuneError
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
