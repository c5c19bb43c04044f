package grpcserver

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
)

// callHead has the parts of a request's headers that do not differ from call to call, as the
// deadline does. It is immutable and shared by all calls of a connection whose headers are equal,
// which is usual with gRPC clients.
type callHead struct {
	path        string
	authority   string
	contentType string
	encoding    string
	fields      []http2.Field // fields that become metadata, in order of arrival
	method      *method       // nil: unknown

	mdOnce sync.Once
	md     any // metadata.MD as stored by metadata.NewIncomingContext
}

// incoming returns the value for metadata.FromIncomingContext. Both readers of it in package
// metadata return copies, so calls may share one map.
func (h *callHead) incoming() any {
	h.mdOnce.Do(func() {
		md := make(metadata.MD, len(h.fields)+1)
		if h.authority != "" {
			md[":authority"] = []string{h.authority}
		}
		for i := range h.fields {
			f := &h.fields[i]
			md[f.Name] = append(md[f.Name], f.Value)
		}
		ctx := metadata.NewIncomingContext(noContext, md)
		h.md = ctx.Value(keyIncoming)
	})
	return h.md
}

// requestHead has the parsed headers of a request.
type requestHead struct {
	*callHead
	timeout    time.Duration
	hasTimeout bool
	refuse     *status.Status // end the call with this status, without a handler
	refuseHTTP int            // the HTTP status that belongs to it; 0 means 200
}

// readHead parses a request's header fields. The callHead in the result is the previous call's if
// its fields are equal.
func (c *connection) readHead(r *http2.Request) requestHead {
	var head requestHead
	var encoding string
	// fields that become metadata; r.Fields is the reader's and not used again
	fields := r.Fields[:0]
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Name {
		case "grpc-timeout":
			head.hasTimeout = true
			d, err := parseTimeout(f.Value)
			if err != nil {
				head.refuse, head.refuseHTTP = status.Newf(codes.Internal, "malformed grpc-timeout: %v", err), 400
			}
			head.timeout = d
		case "grpc-encoding":
			encoding = f.Value
		case "grpc-message-type", "grpc-message", "grpc-status":
		default:
			fields = append(fields, *f)
		}
	}
	switch {
	case r.TooLarge:
		head.refuse, head.refuseHTTP = status.Newf(codes.ResourceExhausted, "header list larger than %d bytes", c.conn.HeaderBytesMax()), 431
	case head.refuse != nil:
	case r.Authority == "":
		head.refuse, head.refuseHTTP = status.New(codes.Internal, "no host or :authority header present"), 400
	case r.Method != "POST":
		head.refuse = status.Newf(codes.Internal, "Received a HEADERS frame with :method %q which should be POST", r.Method)
		head.refuseHTTP = 405
	}
	if p := c.prev; p != nil && p.path == r.Path && p.authority == r.Authority && p.encoding == encoding && sameFields(p.fields, fields) {
		head.callHead = p
		return head
	}
	head.callHead = &callHead{
		path: r.Path, authority: r.Authority, contentType: r.ContentType, encoding: encoding,
		method: c.srv.methods[r.Path],
	}
	head.keepFields(fields)
	if head.refuse == nil {
		c.prev = head.callHead
	}
	return head
}

// keepFields copies the fields that become metadata from the reader's slice and decodes binary
// values.
func (r *requestHead) keepFields(fields []http2.Field) {
	r.fields = append(make([]http2.Field, 0, len(fields)), fields...)
	for i := range r.fields {
		f := &r.fields[i]
		if !strings.HasSuffix(f.Name, "-bin") {
			continue
		}
		v, err := decodeBinary(f.Value)
		if err != nil {
			r.refuse = status.Newf(codes.Internal, "malformed binary metadata %q in header %q: %v", f.Value, f.Name, err)
			r.refuseHTTP = 400
			return
		}
		f.Value = v
	}
}

// sameFields compares the shared head's fields with the new request's. Binary headers never compare
// equal, since the head has them decoded; requests with them do not share.
func sameFields(a, b []http2.Field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Value != b[i].Value || strings.HasSuffix(a[i].Name, "-bin") {
			return false
		}
	}
	return true
}

// IsGRPC reports whether a request with this content-type is a gRPC call: application/grpc, alone
// or followed by "+subtype" or ";parameters". application/grpc-web is another protocol.
func IsGRPC(contentType string) bool {
	const base = "application/grpc"
	if len(contentType) < len(base) || contentType[:len(base)] != base {
		return false
	}
	return len(contentType) == len(base) || contentType[len(base)] == '+' || contentType[len(base)] == ';'
}

// decodeBinary decodes the value of a "-bin" header, with or without base64 padding.
func decodeBinary(v string) (string, error) {
	enc := base64.RawStdEncoding
	if len(v)%4 == 0 {
		enc = base64.StdEncoding
	}
	b, err := enc.DecodeString(v)
	return string(b), err
}

// parseTimeout parses a grpc-timeout: up to eight digits and a unit.
func parseTimeout(v string) (time.Duration, error) {
	if len(v) < 2 {
		return 0, fmt.Errorf("transport: timeout string is too short: %q", v)
	}
	if len(v) > 9 {
		return 0, fmt.Errorf("transport: timeout string is too long: %q", v)
	}
	unit := timeoutUnit(v[len(v)-1])
	if unit == 0 {
		return 0, fmt.Errorf("transport: timeout unit is not recognized: %q", v)
	}
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 64)
	if err != nil {
		return 0, err
	}
	if n > uint64(1<<63-1)/uint64(unit) {
		return 1<<63 - 1, nil
	}
	return time.Duration(n) * unit, nil
}

func timeoutUnit(c byte) time.Duration {
	switch c {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	}
	return 0
}
