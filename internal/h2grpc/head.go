package h2grpc

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// callHead is what a request's headers say, apart from what differs from call to call (the
// deadline). It is immutable and shared by all calls of a connection whose headers are equal,
// which with gRPC clients is nearly all of them.
type callHead struct {
	path        string
	contentType string
	encoding    string
	fields      []field // what becomes metadata, in order of arrival
	method      *method // nil: unknown

	mdOnce sync.Once
	md     any // metadata.MD as metadata.NewIncomingContext stores it
}

// incoming returns the value that metadata.FromIncomingContext looks for. Both readers of it
// in package metadata copy before they hand out, so calls may share one map.
func (h *callHead) incoming() any {
	h.mdOnce.Do(func() {
		md := make(metadata.MD, len(h.fields))
		for i := range h.fields {
			f := &h.fields[i]
			md[f.name] = append(md[f.name], f.value)
		}
		ctx := metadata.NewIncomingContext(noContext, md)
		h.md = ctx.Value(keyIncoming)
	})
	return h.md
}

// requestHead is the outcome of reading one HEADERS frame.
type requestHead struct {
	*callHead
	httpMethod, scheme, authority string
	timeout                       time.Duration
	hasTimeout                    bool
	grpc                          bool
	refuse                        *status.Status // answer this at once
	refuseHTTP                    int
}

// readHead sorts fields into a requestHead. It reports false for a request that RFC 9113
// calls malformed. prev, when not nil, is returned again if it says the same.
func (s *Server) readHead(fields []field, visible *[]field, prev *callHead) (req requestHead, ok bool) {
	var path, contentType, encoding, host, te string
	var seen uint32
	regular := false
	vis := (*visible)[:0]
	for i := range fields {
		f := &fields[i]
		if f.kind >= fieldMethod && f.kind <= fieldAuthority {
			// Pseudo-headers come first and once.
			if regular || seen&(1<<f.kind) != 0 {
				return req, false
			}
			seen |= 1 << f.kind
		} else {
			regular = true
		}
		switch f.kind {
		case fieldMethod:
			req.httpMethod = f.value
		case fieldScheme:
			req.scheme = f.value
		case fieldPath:
			path = f.value
		case fieldAuthority:
			req.authority = f.value
			vis = append(vis, *f)
		case fieldContentType:
			contentType = f.value
			vis = append(vis, *f)
		case fieldTimeout:
			req.hasTimeout = true
			d, err := parseTimeout(f.value)
			if err != nil {
				req.refuse = status.Newf(codes.Internal, "malformed grpc-timeout: %v", err)
			}
			req.timeout = d
		case fieldEncoding:
			encoding = f.value
		case fieldTE:
			te = f.value
		case fieldForbidden, fieldInvalid:
			return req, false
		case fieldReserved:
		default:
			if f.name == "host" {
				if seen&(1<<31) != 0 {
					return req, false
				}
				seen |= 1 << 31
				host = f.value
				continue
			}
			vis = append(vis, *f)
		}
	}
	*visible = vis
	if req.httpMethod == "" || req.httpMethod == "CONNECT" || req.scheme == "" || path == "" || (te != "" && te != "trailers") {
		return req, false
	}
	if req.authority == "" && host != "" {
		req.authority = host
		vis = append(vis, field{name: ":authority", value: host, kind: fieldAuthority})
		*visible = vis
	}
	req.grpc = isGRPC(contentType)
	if req.grpc {
		req.checkGRPC()
	}
	if prev != nil && prev.path == path && prev.encoding == encoding && sameFields(prev.fields, vis) {
		req.callHead = prev
		return req, true
	}
	req.callHead = &callHead{path: path, contentType: contentType, encoding: encoding, method: s.methods[path]}
	req.keepFields(vis)
	return req, true
}

// keepFields copies what becomes metadata out of the reader's slice and decodes binary values.
func (r *requestHead) keepFields(vis []field) {
	r.fields = append(make([]field, 0, len(vis)), vis...)
	for i := range r.fields {
		f := &r.fields[i]
		if !r.grpc || !strings.HasSuffix(f.name, "-bin") {
			continue
		}
		v, err := decodeBinary(f.value)
		if err != nil {
			r.refuse = status.Newf(codes.Internal, "malformed binary metadata %q in header %q: %v", f.value, f.name, err)
			r.refuseHTTP = 400
			return
		}
		f.value = v
	}
}

func (r *requestHead) checkGRPC() {
	switch {
	case r.refuse != nil:
		r.refuseHTTP = 400
	case r.authority == "":
		r.refuse, r.refuseHTTP = status.New(codes.Internal, "no host or :authority header present"), 400
	case r.httpMethod != "POST":
		r.refuse = status.Newf(codes.Internal, "Received a HEADERS frame with :method %q which should be POST", r.httpMethod)
		r.refuseHTTP = 405
	}
}

// sameFields compares the shared head's fields with those just read. Binary headers differ,
// since the head holds them decoded; requests that carry them do not share.
func sameFields(a, b []field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].name != b[i].name || a[i].value != b[i].value || strings.HasSuffix(a[i].name, "-bin") {
			return false
		}
	}
	return true
}

// isGRPC follows the protocol's rule for content-type: application/grpc, alone or followed by
// "+subtype" or ";parameters". application/grpc-web is another protocol.
func isGRPC(contentType string) bool {
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

// parseTimeout reads a grpc-timeout: up to eight digits and a unit.
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

// headCache remembers what the last few header blocks meant. A client that calls the same
// methods again sends the same bytes again, all of them indexes into the compression table,
// and as long as the table has not changed they mean the same.
type headCache struct {
	changes uint64
	entries [4]struct {
		block []byte
		req   requestHead
	}
	next int
}

func (h *headCache) get(block []byte, changes uint64) *requestHead {
	if h.changes != changes {
		return nil
	}
	for i := range h.entries {
		if e := &h.entries[i]; len(e.block) > 0 && bytes.Equal(e.block, block) {
			return &e.req
		}
	}
	return nil
}

func (h *headCache) put(block []byte, changes uint64, req requestHead) {
	if h.changes != changes {
		for i := range h.entries {
			h.entries[i].block = h.entries[i].block[:0]
		}
		h.changes = changes
	}
	if len(block) > headCacheBlockMax {
		return
	}
	e := &h.entries[h.next]
	h.next = (h.next + 1) % len(h.entries)
	e.block, e.req = append(e.block[:0], block...), req
}

// headCacheBlockMax keeps out blocks with literals, which are rarely sent twice.
const headCacheBlockMax = 64
