package grpctest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// RawClient sends and receives HTTP/2 frames, so that it can violate every rule.
type RawClient struct {
	t      testing.TB
	Conn   net.Conn
	Framer *http2.Framer
	enc    *hpack.Encoder
	blk    bytes.Buffer
}

// RawDial connects and sends the preface.
func RawDial(t testing.TB, addr string) *RawClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(time.Minute))
	return RawOn(t, nc)
}

// RawOn sends the preface on a connection that the caller closes.
func RawOn(t testing.TB, nc net.Conn) *RawClient {
	c := &RawClient{t: t, Conn: nc, Framer: http2.NewFramer(nc, nc)}
	c.Framer.AllowIllegalWrites = true
	c.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.blk)
	io.WriteString(nc, http2.ClientPreface)
	return c
}

// RawOpen is RawDial and an empty SETTINGS frame.
func RawOpen(t testing.TB, addr string) *RawClient {
	c := RawDial(t, addr)
	c.Framer.WriteSettings()
	return c
}

// Block encodes header fields, given as names and values in turn.
func (c *RawClient) Block(kv ...string) []byte {
	c.blk.Reset()
	for i := 0; i < len(kv); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return bytes.Clone(c.blk.Bytes())
}

// CallHeaders are the header fields of a call of the test service.
func CallHeaders(method string) []string {
	return []string{":method", "POST", ":scheme", "http", ":path", "/grpc.testing.TestService/" + method, ":authority", "x", "content-type", "application/grpc", "te", "trailers"}
}

// Headers sends a HEADERS frame.
func (c *RawClient) Headers(id uint32, end bool, kv ...string) {
	c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.Block(kv...), EndHeaders: true, EndStream: end})
}

// Message encodes m as gRPC sends it, with its prefix.
func Message(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// Call sends a whole unary call for a body of the given size.
func (c *RawClient) Call(id uint32, size int) {
	c.Headers(id, false, CallHeaders("UnaryCall")...)
	c.Framer.WriteData(id, true, Message(&pb.SimpleRequest{ResponseSize: int32(size)}))
}

// Until reads frames until f returns true; it fails the test when the connection ends first.
func (c *RawClient) Until(f func(http2.Frame) bool) {
	c.t.Helper()
	for {
		fr, err := c.Framer.ReadFrame()
		if err != nil {
			c.t.Fatalf("connection ended: %v", err)
		}
		if f(fr) {
			return
		}
	}
}

// WantGoAway reads until GOAWAY with code, and then until the connection's end.
func (c *RawClient) WantGoAway(code http2.ErrCode) {
	c.t.Helper()
	c.Until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.ErrCode != code {
			c.t.Fatalf("GOAWAY %v %q, want %v", g.ErrCode, g.DebugData(), code)
		}
		return ok
	})
	for {
		if _, err := c.Framer.ReadFrame(); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				c.t.Fatal("connection stays open after GOAWAY")
			}
			return
		}
	}
}

// WantReset reads until stream id is reset with code.
func (c *RawClient) WantReset(id uint32, code http2.ErrCode) {
	c.t.Helper()
	c.Until(func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		if ok && (r.StreamID != id || r.ErrCode != code) {
			c.t.Fatalf("RST_STREAM %d %v, want %d %v", r.StreamID, r.ErrCode, id, code)
		}
		return ok
	})
}

// WantStatus reads until stream id's trailers have the grpc-status code.
func (c *RawClient) WantStatus(id uint32, code string) {
	c.t.Helper()
	c.Until(func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if !ok || h.StreamID != id || !h.StreamEnded() {
			return false
		}
		for _, f := range h.RegularFields() {
			if f.Name == "grpc-status" {
				if f.Value != code {
					c.t.Fatalf("grpc-status %s, want %s: %v", f.Value, code, h.Fields)
				}
				return true
			}
		}
		c.t.Fatalf("no grpc-status in %v", h.Fields)
		return false
	})
}
