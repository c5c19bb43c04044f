package h2grpc_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cairn/internal/h2grpc"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// rawClient speaks HTTP/2 frame by frame, so that it can break every rule.
type rawClient struct {
	t   testing.TB
	nc  net.Conn
	fr  *http2.Framer
	enc *hpack.Encoder
	blk bytes.Buffer
}

func rawDial(t testing.TB, addr string) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &rawClient{t: t, nc: nc, fr: http2.NewFramer(nc, nc)}
	c.fr.AllowIllegalWrites = true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.blk)
	io.WriteString(nc, http2.ClientPreface)
	return c
}

// rawOpen is rawDial and an empty SETTINGS frame.
func rawOpen(t testing.TB, addr string) *rawClient {
	c := rawDial(t, addr)
	c.fr.WriteSettings()
	return c
}

func (c *rawClient) block(kv ...string) []byte {
	c.blk.Reset()
	for i := 0; i < len(kv); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return bytes.Clone(c.blk.Bytes())
}

func callHeaders(method string) []string {
	return []string{":method", "POST", ":scheme", "http", ":path", "/grpc.testing.TestService/" + method, ":authority", "x", "content-type", "application/grpc", "te", "trailers"}
}

func (c *rawClient) headers(id uint32, end bool, kv ...string) {
	c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(kv...), EndHeaders: true, EndStream: end})
}

func message(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// call sends a whole unary call.
func (c *rawClient) call(id uint32, size int) {
	c.headers(id, false, callHeaders("UnaryCall")...)
	c.fr.WriteData(id, true, message(&pb.SimpleRequest{ResponseSize: int32(size)}))
}

// until reads frames until f says stop; it fails the test when the connection ends before.
func (c *rawClient) until(f func(http2.Frame) bool) {
	c.t.Helper()
	for {
		fr, err := c.fr.ReadFrame()
		if err != nil {
			c.t.Fatalf("connection ended: %v", err)
		}
		if f(fr) {
			return
		}
	}
}

// wantGoAway reads until GOAWAY with code, and then until the connection's end.
func (c *rawClient) wantGoAway(code http2.ErrCode) {
	c.t.Helper()
	c.until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.ErrCode != code {
			c.t.Fatalf("GOAWAY %v %q, want %v", g.ErrCode, g.DebugData(), code)
		}
		return ok
	})
	for {
		if _, err := c.fr.ReadFrame(); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				c.t.Fatal("connection stays open after GOAWAY")
			}
			return
		}
	}
}

func (c *rawClient) wantReset(id uint32, code http2.ErrCode) {
	c.t.Helper()
	c.until(func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		if ok && (r.StreamID != id || r.ErrCode != code) {
			c.t.Fatalf("RST_STREAM %d %v, want %d %v", r.StreamID, r.ErrCode, id, code)
		}
		return ok
	})
}

// wantStatus reads until stream id's trailers say code.
func (c *rawClient) wantStatus(id uint32, code string) {
	c.t.Helper()
	c.until(func(f http2.Frame) bool {
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

func TestConnectionErrors(t *testing.T) {
	_, addr := start(t, h2grpc.Options{MaxHeaderBytes: 8 << 10}, nil)
	good := callHeaders("UnaryCall")
	for _, tc := range []struct {
		name string
		code http2.ErrCode
		send func(c *rawClient)
	}{
		{"data on stream 0", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteData(0, false, []byte("x")) }},
		{"data on idle stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteData(1, false, []byte("x")) }},
		{"headers on even stream", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(2, true, good...) }},
		{"headers on stream 0", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(0, true, good...) }},
		{"headers on a lower stream", http2.ErrCodeStreamClosed, func(c *rawClient) { c.call(5, 0); c.headers(3, true, good...) }},
		{"continuation alone", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteContinuation(1, true, nil) }},
		{"interrupted header block", http2.ErrCodeProtocol, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
			c.fr.WritePing(false, [8]byte{})
		}},
		{"continuation of another stream", http2.ErrCodeProtocol, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
			c.fr.WriteContinuation(3, true, nil)
		}},
		{"bad header block", http2.ErrCodeCompression, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		}},
		{"index out of table", http2.ErrCodeCompression, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80 | 100}, EndHeaders: true})
		}},
		{"rst on idle stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRSTStream(1, http2.ErrCodeCancel) }},
		{"rst of 3 bytes", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte("abc")) }},
		{"window update of 0", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }},
		{"window update of 5 bytes", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 5)) }},
		{"window update on idle stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteWindowUpdate(9, 1) }},
		{"connection window overflow", http2.ErrCodeFlowControl, func(c *rawClient) { c.fr.WriteWindowUpdate(0, 1<<31-1) }},
		{"settings on a stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameSettings, 0, 1, nil) }},
		{"settings of 5 bytes", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) }},
		{"settings ack with payload", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameSettings, 1, 0, make([]byte, 6)) }},
		{"enable push 2", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }},
		{"initial window too large", http2.ErrCodeFlowControl, func(c *rawClient) {
			c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"max frame size too small", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 100}) }},
		{"ping on a stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }},
		{"ping of 7 bytes", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }},
		{"push promise", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }},
		{"priority of 4 bytes", http2.ErrCodeFrameSize, func(c *rawClient) { c.fr.WriteRawFrame(http2.FramePriority, 0, 1, make([]byte, 4)) }},
		{"goaway on a stream", http2.ErrCodeProtocol, func(c *rawClient) { c.fr.WriteRawFrame(http2.FrameGoAway, 0, 1, make([]byte, 8)) }},
		{"giant frame", http2.ErrCodeFrameSize, func(c *rawClient) { c.nc.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}) }},
		{"padding longer than frame", http2.ErrCodeProtocol, func(c *rawClient) {
			c.headers(1, false, good...)
			c.fr.WriteRawFrame(http2.FrameData, 8, 1, []byte{9, 1, 2})
		}},
		{"endless continuation", http2.ErrCodeEnhanceYourCalm, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(good...)})
			for range 1000 {
				c.fr.WriteContinuation(1, false, c.block("x", strings.Repeat("y", 4000)))
			}
		}},
		{"empty continuations", http2.ErrCodeEnhanceYourCalm, func(c *rawClient) {
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(good...)})
			for range 1000 {
				c.fr.WriteContinuation(1, false, nil)
			}
		}},
		{"pings", http2.ErrCodeEnhanceYourCalm, func(c *rawClient) {
			for range 4 {
				c.fr.WritePing(false, [8]byte{1})
			}
		}},
		{"empty data flood", http2.ErrCodeEnhanceYourCalm, func(c *rawClient) {
			c.headers(1, false, good...)
			for range 30000 {
				if c.fr.WriteData(1, false, nil) != nil {
					return
				}
			}
		}},
		{"rapid reset", http2.ErrCodeEnhanceYourCalm, func(c *rawClient) {
			for id := uint32(1); id < 60000; id += 2 {
				c.headers(id, false, good...)
				if c.fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := rawOpen(t, addr)
			tc.send(c)
			c.wantGoAway(tc.code)
		})
	}
	t.Run("no settings", func(t *testing.T) {
		c := rawDial(t, addr)
		c.headers(1, true, good...)
		c.wantGoAway(http2.ErrCodeProtocol)
	})
	if _, err := client(t, addr).EmptyCall(testContext(t), &pb.Empty{}); err != nil {
		t.Fatalf("after all that: %v", err)
	}
}

func TestStreamErrors(t *testing.T) {
	svc := &testService{duplx: func(st pb.TestService_FullDuplexCallServer) error {
		<-st.Context().Done() // only the client's mistake ends the stream
		return nil
	}}
	_, addr := start(t, h2grpc.Options{MaxHeaderBytes: 8 << 10, MaxRecvBytes: 1 << 20}, svc)
	good := callHeaders("UnaryCall")
	for _, tc := range []struct {
		name string
		code http2.ErrCode
		send func(c *rawClient)
	}{
		{"data after the end", http2.ErrCodeStreamClosed, func(c *rawClient) {
			c.headers(1, true, callHeaders("FullDuplexCall")...)
			c.fr.WriteData(1, true, nil)
		}},
		{"window update of 0", http2.ErrCodeProtocol, func(c *rawClient) {
			c.headers(1, false, callHeaders("FullDuplexCall")...)
			c.fr.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4))
		}},
		{"stream window overflow", http2.ErrCodeFlowControl, func(c *rawClient) {
			c.headers(1, false, callHeaders("FullDuplexCall")...)
			c.fr.WriteWindowUpdate(1, 1<<31-1)
		}},
		{"no path", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, good[:4]...) }},
		{"two paths", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append(good[:6:6], ":path", "/x")...) }},
		{"pseudo-header after field", http2.ErrCodeProtocol, func(c *rawClient) {
			c.headers(1, true, append([]string{"a", "b"}, good...)...)
		}},
		{"unknown pseudo-header", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append([]string{":status", "200"}, good...)...) }},
		{"upper case", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append(good[:12:12], "Upper", "x")...) }},
		{"line break in a value", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append(good[:12:12], "x", "a\r\nb: c")...) }},
		{"connection header", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append(good[:12:12], "connection", "close")...) }},
		{"te not trailers", http2.ErrCodeProtocol, func(c *rawClient) { c.headers(1, true, append(good[:10:10], "te", "gzip")...) }},
		{"trailers without end", http2.ErrCodeProtocol, func(c *rawClient) {
			c.headers(1, false, callHeaders("FullDuplexCall")...)
			c.headers(1, false, "a", "b")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := rawOpen(t, addr)
			tc.send(c)
			c.wantReset(1, tc.code)
			c.call(3, 10) // the connection is none the worse
			c.wantStatus(3, "0")
		})
	}
}

func TestBadCalls(t *testing.T) {
	_, addr := start(t, h2grpc.Options{MaxHeaderBytes: 8 << 10, MaxRecvBytes: 1 << 20}, nil)
	good := callHeaders("UnaryCall")
	msg := message(&pb.SimpleRequest{})
	for _, tc := range []struct {
		name, code string
		send       func(c *rawClient)
	}{
		{"no message", "13", func(c *rawClient) { c.headers(1, true, good...) }},
		{"no message, late end", "13", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, true, nil) }},
		{"half a prefix", "13", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, true, []byte{0, 0}) }},
		{"half a message", "13", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, true, []byte{0, 0, 0, 0, 9, 1}) }},
		{"two messages", "13", func(c *rawClient) {
			c.headers(1, false, good...)
			c.fr.WriteData(1, true, append(msg[:len(msg):len(msg)], msg...))
		}},
		{"too large, not sent", "8", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, false, []byte{0, 0xff, 0, 0, 0}) }},
		{"compressed without encoding", "13", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, true, []byte{1, 0, 0, 0, 0}) }},
		{"flag 2", "13", func(c *rawClient) { c.headers(1, false, good...); c.fr.WriteData(1, true, []byte{2, 0, 0, 0, 0}) }},
		{"not protobuf", "13", func(c *rawClient) {
			c.headers(1, false, good...)
			c.fr.WriteData(1, true, []byte{0, 0, 0, 0, 2, 0xff, 0xff})
		}},
		{"unknown encoding", "12", func(c *rawClient) { c.headers(1, false, append(good[:12:12], "grpc-encoding", "snappy")...) }},
		{"broken gzip", "13", func(c *rawClient) {
			c.headers(1, false, append(good[:12:12], "grpc-encoding", "gzip")...)
			c.fr.WriteData(1, true, []byte{1, 0, 0, 0, 2, 1, 2})
		}},
		{"bad timeout", "13", func(c *rawClient) { c.headers(1, false, append(good[:12:12], "grpc-timeout", "5x")...) }},
		{"timeout over", "4", func(c *rawClient) { c.headers(1, false, append(good[:12:12], "grpc-timeout", "0n")...) }},
		{"bad binary metadata", "13", func(c *rawClient) { c.headers(1, false, append(good[:12:12], "x-bin", "!!")...) }},
		{"GET", "13", func(c *rawClient) { c.headers(1, true, append([]string{":method", "GET"}, good[2:]...)...) }},
		{"no authority", "13", func(c *rawClient) { c.headers(1, true, append(good[:6:6], good[8:]...)...) }},
		{"header list too long", "8", func(c *rawClient) { c.headers(1, true, append(good[:12:12], "x", strings.Repeat("y", 9000))...) }},
		{"message in three frames", "0", func(c *rawClient) {
			c.headers(1, false, good...)
			m := message(&pb.SimpleRequest{ResponseSize: 5})
			for _, b := range m {
				c.fr.WriteDataPadded(1, false, []byte{b}, make([]byte, 7))
			}
			c.fr.WriteData(1, true, nil)
		}},
		{"header block in pieces, with priority and padding", "0", func(c *rawClient) {
			b := c.block(good...)
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], PadLength: 5, Priority: http2.PriorityParam{StreamDep: 7, Weight: 3}})
			c.fr.WriteContinuation(1, false, b[3:9])
			c.fr.WriteContinuation(1, true, b[9:])
			c.fr.WriteData(1, true, msg)
		}},
		{"trailers end the request", "0", func(c *rawClient) {
			c.headers(1, false, good...)
			c.fr.WriteData(1, false, msg)
			c.headers(1, true, "x-trailer", "1")
		}},
		{"unknown frame type", "0", func(c *rawClient) {
			c.fr.WriteRawFrame(0x42, 0xff, 77, []byte("whatever"))
			c.call(1, 0)
		}},
		{"host instead of authority", "0", func(c *rawClient) {
			c.headers(1, false, append(append(good[:6:6], good[8:]...), "host", "h")...)
			c.fr.WriteData(1, true, msg)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := rawOpen(t, addr)
			tc.send(c)
			c.wantStatus(1, tc.code)
			c.call(3, 10)
			c.wantStatus(3, "0")
		})
	}
}

// A peer that asks for answers and reads none of them is cut off, and nothing piles up for it.
func TestFloodWithoutReading(t *testing.T) {
	_, addr := start(t, h2grpc.Options{WriteTimeout: 500 * time.Millisecond}, nil)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, http2.ClientPreface)
	settings := bytes.Repeat([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}, 1000)
	for {
		if _, err := nc.Write(settings); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the server neither reads on nor cuts off")
			}
			return
		}
	}
}

// The client takes nothing until the whole answer is queued, then opens its windows bit by bit.
func TestAnswerThroughNarrowWindows(t *testing.T) {
	_, addr := start(t, h2grpc.Options{}, nil)
	c := rawDial(t, addr)
	c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	const size = 200000
	c.call(1, size)
	c.headers(3, false, callHeaders("EmptyCall")...)
	c.fr.WriteData(3, true, message(&pb.Empty{}))
	var got []byte
	opened := 0
	c.until(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				return f.StreamID == 1
			}
			if f.StreamID == 3 { // five bytes are all it needs
				c.fr.WriteWindowUpdate(3, 5)
			} else {
				c.fr.WriteWindowUpdate(1, 1)
				opened++
			}
		case *http2.DataFrame:
			if f.StreamID != 1 {
				return false
			}
			got = append(got, f.Data()...)
			if len(got) > opened {
				c.t.Fatalf("%d bytes through a window of %d", len(got), opened)
			}
			if len(got) == opened {
				n := 1 + opened/3
				c.fr.WriteWindowUpdate(1, uint32(n))
				c.fr.WriteWindowUpdate(0, uint32(n))
				opened += n
			}
		}
		return false
	})
	var m pb.SimpleResponse
	if err := proto.Unmarshal(got[5:], &m); err != nil || !bytes.Equal(m.Payload.Body, pattern(size)) {
		t.Fatalf("%d bytes: %v", len(got), err)
	}
}

// The peer's table size changes twice: the encoder must announce it and stay decodable.
func TestSmallHeaderTable(t *testing.T) {
	_, addr := start(t, h2grpc.Options{}, nil)
	c := rawOpen(t, addr)
	id := uint32(1)
	for _, size := range []uint32{4096, 110, 0, 4096} {
		c.fr.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size})
		for range 3 {
			c.call(id, 10)
			c.wantStatus(id, "0")
			id += 2
		}
	}
}

func TestMaxConcurrentStreams(t *testing.T) {
	_, addr := start(t, h2grpc.Options{MaxConcurrentStreams: 2}, nil)
	c := rawOpen(t, addr)
	for id := uint32(1); id <= 5; id += 2 {
		c.headers(id, false, callHeaders("FullDuplexCall")...)
	}
	c.wantReset(5, http2.ErrCodeRefusedStream)
	c.fr.WriteData(1, true, nil)
	c.wantStatus(1, "0")
	c.call(7, 0)
	c.wantStatus(7, "0")
}
