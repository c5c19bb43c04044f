package http2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cairn/internal/grpcserver"
	engine "cairn/internal/http2"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

func TestConnectionErrors(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{Tune: engine.Tune{HeaderBytes: 8 << 10}.Apply}, nil)
	good := grpctest.CallHeaders("UnaryCall")
	for _, tc := range []struct {
		name string
		code http2.ErrCode
		send func(c *grpctest.RawClient)
	}{
		{"data on stream 0", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteData(0, false, []byte("x")) }},
		{"data on idle stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteData(1, false, []byte("x")) }},
		{"headers on even stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(2, true, good...) }},
		{"headers on stream 0", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(0, true, good...) }},
		{"headers on a lower stream", http2.ErrCodeStreamClosed, func(c *grpctest.RawClient) { c.Call(5, 0); c.Headers(3, true, good...) }},
		{"continuation alone", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteContinuation(1, true, nil) }},
		{"interrupted header block", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
			c.Framer.WritePing(false, [8]byte{})
		}},
		{"continuation of another stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
			c.Framer.WriteContinuation(3, true, nil)
		}},
		{"bad header block", http2.ErrCodeCompression, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		}},
		{"index out of table", http2.ErrCodeCompression, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80 | 100}, EndHeaders: true})
		}},
		{"rst on idle stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRSTStream(1, http2.ErrCodeCancel) }},
		{"rst of 3 bytes", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte("abc")) }},
		{"window update of 0", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }},
		{"window update of 5 bytes", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 5)) }},
		{"window update on idle stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteWindowUpdate(9, 1) }},
		{"connection window overflow", http2.ErrCodeFlowControl, func(c *grpctest.RawClient) { c.Framer.WriteWindowUpdate(0, 1<<31-1) }},
		{"settings on a stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameSettings, 0, 1, nil) }},
		{"settings of 5 bytes", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) }},
		{"settings ack with payload", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameSettings, 1, 0, make([]byte, 6)) }},
		{"enable push 2", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})
		}},
		{"initial window too large", http2.ErrCodeFlowControl, func(c *grpctest.RawClient) {
			c.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"max frame size too small", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Framer.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 100})
		}},
		{"ping on a stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }},
		{"ping of 7 bytes", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }},
		{"push promise", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }},
		{"priority of 4 bytes", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FramePriority, 0, 1, make([]byte, 4)) }},
		{"goaway on a stream", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Framer.WriteRawFrame(http2.FrameGoAway, 0, 1, make([]byte, 8)) }},
		{"giant frame", http2.ErrCodeFrameSize, func(c *grpctest.RawClient) { c.Conn.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}) }},
		{"padding longer than frame", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteRawFrame(http2.FrameData, 8, 1, []byte{9, 1, 2})
		}},
		{"endless continuation", http2.ErrCodeEnhanceYourCalm, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.Block(good...)})
			for range 1000 {
				c.Framer.WriteContinuation(1, false, c.Block("x", strings.Repeat("y", 4000)))
			}
		}},
		{"empty continuations", http2.ErrCodeEnhanceYourCalm, func(c *grpctest.RawClient) {
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.Block(good...)})
			for range 1000 {
				c.Framer.WriteContinuation(1, false, nil)
			}
		}},
		{"pings", http2.ErrCodeEnhanceYourCalm, func(c *grpctest.RawClient) {
			for range 4 {
				c.Framer.WritePing(false, [8]byte{1})
			}
		}},
		{"empty data flood", http2.ErrCodeEnhanceYourCalm, func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			for range 30000 {
				if c.Framer.WriteData(1, false, nil) != nil {
					return
				}
			}
		}},
		{"rapid reset", http2.ErrCodeEnhanceYourCalm, func(c *grpctest.RawClient) {
			for id := uint32(1); id < 60000; id += 2 {
				c.Headers(id, false, good...)
				if c.Framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := grpctest.RawOpen(t, addr)
			tc.send(c)
			c.WantGoAway(tc.code)
		})
	}
	t.Run("no settings", func(t *testing.T) {
		c := grpctest.RawDial(t, addr)
		c.Headers(1, true, good...)
		c.WantGoAway(http2.ErrCodeProtocol)
	})
	if _, err := grpctest.Client(t, addr).EmptyCall(grpctest.Context(t), &pb.Empty{}); err != nil {
		t.Fatalf("after all that: %v", err)
	}
}

func TestStreamErrors(t *testing.T) {
	svc := &grpctest.Service{Duplex: func(st pb.TestService_FullDuplexCallServer) error {
		<-st.Context().Done() // only a protocol error of the client ends the stream
		return nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1 << 20}, Tune: engine.Tune{HeaderBytes: 8 << 10}.Apply}, svc)
	good := grpctest.CallHeaders("UnaryCall")
	for _, tc := range []struct {
		name string
		code http2.ErrCode
		send func(c *grpctest.RawClient)
	}{
		{"data after the end", http2.ErrCodeStreamClosed, func(c *grpctest.RawClient) {
			c.Headers(1, true, grpctest.CallHeaders("FullDuplexCall")...)
			c.Framer.WriteData(1, true, nil)
		}},
		{"window update of 0", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Headers(1, false, grpctest.CallHeaders("FullDuplexCall")...)
			c.Framer.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4))
		}},
		{"stream window overflow", http2.ErrCodeFlowControl, func(c *grpctest.RawClient) {
			c.Headers(1, false, grpctest.CallHeaders("FullDuplexCall")...)
			c.Framer.WriteWindowUpdate(1, 1<<31-1)
		}},
		{"no path", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, good[:4]...) }},
		{"two paths", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:6:6], ":path", "/x")...) }},
		{"pseudo-header after field", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Headers(1, true, append([]string{"a", "b"}, good...)...)
		}},
		{"unknown pseudo-header", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append([]string{":status", "200"}, good...)...) }},
		{"upper case", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:12:12], "Upper", "x")...) }},
		{"line break in a value", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:12:12], "x", "a\r\nb: c")...) }},
		{"connection header", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:12:12], "connection", "close")...) }},
		{"te not trailers", http2.ErrCodeProtocol, func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:10:10], "te", "gzip")...) }},
		{"trailers without end", http2.ErrCodeProtocol, func(c *grpctest.RawClient) {
			c.Headers(1, false, grpctest.CallHeaders("FullDuplexCall")...)
			c.Headers(1, false, "a", "b")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := grpctest.RawOpen(t, addr)
			tc.send(c)
			c.WantReset(1, tc.code)
			c.Call(3, 10) // the connection still works
			c.WantStatus(3, "0")
		})
	}
}

func TestBadCalls(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1 << 20}, Tune: engine.Tune{HeaderBytes: 8 << 10}.Apply}, nil)
	good := grpctest.CallHeaders("UnaryCall")
	msg := grpctest.Message(&pb.SimpleRequest{})
	for _, tc := range []struct {
		name, code string
		send       func(c *grpctest.RawClient)
	}{
		{"no message", "13", func(c *grpctest.RawClient) { c.Headers(1, true, good...) }},
		{"no message, late end", "13", func(c *grpctest.RawClient) { c.Headers(1, false, good...); c.Framer.WriteData(1, true, nil) }},
		{"half a prefix", "13", func(c *grpctest.RawClient) { c.Headers(1, false, good...); c.Framer.WriteData(1, true, []byte{0, 0}) }},
		{"half a message", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, true, []byte{0, 0, 0, 0, 9, 1})
		}},
		{"two messages", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, true, append(msg[:len(msg):len(msg)], msg...))
		}},
		{"too large, not sent", "8", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, false, []byte{0, 0xff, 0, 0, 0})
		}},
		{"compressed without encoding", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, true, []byte{1, 0, 0, 0, 0})
		}},
		{"flag 2", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, true, []byte{2, 0, 0, 0, 0})
		}},
		{"not protobuf", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, true, []byte{0, 0, 0, 0, 2, 0xff, 0xff})
		}},
		{"unknown encoding", "12", func(c *grpctest.RawClient) { c.Headers(1, false, append(good[:12:12], "grpc-encoding", "snappy")...) }},
		{"broken gzip", "13", func(c *grpctest.RawClient) {
			c.Headers(1, false, append(good[:12:12], "grpc-encoding", "gzip")...)
			c.Framer.WriteData(1, true, []byte{1, 0, 0, 0, 2, 1, 2})
		}},
		{"bad timeout", "13", func(c *grpctest.RawClient) { c.Headers(1, false, append(good[:12:12], "grpc-timeout", "5x")...) }},
		{"timeout over", "4", func(c *grpctest.RawClient) { c.Headers(1, false, append(good[:12:12], "grpc-timeout", "0n")...) }},
		{"bad binary metadata", "13", func(c *grpctest.RawClient) { c.Headers(1, false, append(good[:12:12], "x-bin", "!!")...) }},
		{"GET", "13", func(c *grpctest.RawClient) { c.Headers(1, true, append([]string{":method", "GET"}, good[2:]...)...) }},
		{"no authority", "13", func(c *grpctest.RawClient) { c.Headers(1, true, append(good[:6:6], good[8:]...)...) }},
		{"header list too long", "8", func(c *grpctest.RawClient) {
			c.Headers(1, true, append(good[:12:12], "x", strings.Repeat("y", 9000))...)
		}},
		{"message in three frames", "0", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			m := grpctest.Message(&pb.SimpleRequest{ResponseSize: 5})
			for _, b := range m {
				c.Framer.WriteDataPadded(1, false, []byte{b}, make([]byte, 7))
			}
			c.Framer.WriteData(1, true, nil)
		}},
		{"header block in pieces, with priority and padding", "0", func(c *grpctest.RawClient) {
			b := c.Block(good...)
			c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], PadLength: 5, Priority: http2.PriorityParam{StreamDep: 7, Weight: 3}})
			c.Framer.WriteContinuation(1, false, b[3:9])
			c.Framer.WriteContinuation(1, true, b[9:])
			c.Framer.WriteData(1, true, msg)
		}},
		{"trailers end the request", "0", func(c *grpctest.RawClient) {
			c.Headers(1, false, good...)
			c.Framer.WriteData(1, false, msg)
			c.Headers(1, true, "x-trailer", "1")
		}},
		{"unknown frame type", "0", func(c *grpctest.RawClient) {
			c.Framer.WriteRawFrame(0x42, 0xff, 77, []byte("whatever"))
			c.Call(1, 0)
		}},
		{"host instead of authority", "0", func(c *grpctest.RawClient) {
			c.Headers(1, false, append(append(good[:6:6], good[8:]...), "host", "h")...)
			c.Framer.WriteData(1, true, msg)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := grpctest.RawOpen(t, addr)
			tc.send(c)
			c.WantStatus(1, tc.code)
			c.Call(3, 10)
			c.WantStatus(3, "0")
		})
	}
}

// The connection of a peer that sends requests and reads no responses is closed, and no responses
// accumulate.
func TestFloodWithoutReading(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{Tune: engine.Tune{WriteTimeout: 500 * time.Millisecond}.Apply}, nil)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	nc.SetDeadline(time.Now().Add(time.Minute))
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

// The client reads nothing until the whole response is queued, then opens its windows in steps.
func TestResponseThroughNarrowWindows(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.RawDial(t, addr)
	c.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	const size = 200000
	c.Call(1, size)
	c.Headers(3, false, grpctest.CallHeaders("EmptyCall")...)
	c.Framer.WriteData(3, true, grpctest.Message(&pb.Empty{}))
	var got []byte
	opened := 0
	c.Until(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				return f.StreamID == 1
			}
			if f.StreamID == 3 { // its response has only five bytes
				c.Framer.WriteWindowUpdate(3, 5)
			} else {
				c.Framer.WriteWindowUpdate(1, 1)
				opened++
			}
		case *http2.DataFrame:
			if f.StreamID != 1 {
				return false
			}
			got = append(got, f.Data()...)
			if len(got) > opened {
				t.Fatalf("%d bytes through a window of %d", len(got), opened)
			}
			if len(got) == opened {
				n := 1 + opened/3
				c.Framer.WriteWindowUpdate(1, uint32(n))
				c.Framer.WriteWindowUpdate(0, uint32(n))
				opened += n
			}
		}
		return false
	})
	var m pb.SimpleResponse
	if err := proto.Unmarshal(got[5:], &m); err != nil || !bytes.Equal(m.Payload.Body, grpctest.Pattern(size)) {
		t.Fatalf("%d bytes: %v", len(got), err)
	}
}

// The peer's table size changes twice: the encoder must announce it and remain decodable.
func TestSmallHeaderTable(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.RawOpen(t, addr)
	id := uint32(1)
	for _, size := range []uint32{4096, 110, 0, 4096} {
		c.Framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size})
		for range 3 {
			c.Call(id, 10)
			c.WantStatus(id, "0")
			id += 2
		}
	}
}

func TestMaxConcurrentStreams(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{HTTP2: engine.Options{MaxConcurrentStreams: 2}}, nil)
	c := grpctest.RawOpen(t, addr)
	for id := uint32(1); id <= 5; id += 2 {
		c.Headers(id, false, grpctest.CallHeaders("FullDuplexCall")...)
	}
	c.WantReset(5, http2.ErrCodeRefusedStream)
	c.Framer.WriteData(1, true, nil)
	c.WantStatus(1, "0")
	c.Call(7, 0)
	c.WantStatus(7, "0")
}
