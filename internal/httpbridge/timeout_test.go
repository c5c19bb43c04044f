package httpbridge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cairn/internal/http2"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// rawClient sends and receives frames.
type rawClient struct {
	t *testing.T
	*xhttp2.Framer
	conn net.Conn
}

// serve serves a handler over HTTP/2, and returns a client whose windows are windowBytes.
func serve(t *testing.T, o Options, windowBytes uint32) *rawClient {
	t.Helper()
	server := http2.NewServer(http2.Options{Protocol: New(o)})
	t.Cleanup(server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		nc, err := l.Accept()
		_ = l.Close() // not before: a connection that waits to be accepted would be reset
		if err != nil {
			return
		}
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(nc, preface); err == nil {
			server.ServeConn(nc, preface, nil, func() {})
		}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		_ = l.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	c := &rawClient{t, xhttp2.NewFramer(nc, nc), nc}
	_, _ = io.WriteString(nc, http2.ClientPreface)
	_ = c.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: windowBytes})
	return c
}

// request sends a request's header fields.
func (c *rawClient) request(method string, end bool) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = c.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// wantReset reads until the stream is reset.
func (c *rawClient) wantReset() {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("the stream was not reset: %v", err)
		}
		if reset, ok := f.(*xhttp2.RSTStreamFrame); ok {
			if reset.ErrCode != xhttp2.ErrCodeEnhanceYourCalm {
				c.t.Errorf("reset with %v", reset.ErrCode)
			}
			return
		}
	}
}

// A body of which no byte comes ends with a time-out; that of a conversation does not.
func TestSilentBody(t *testing.T) {
	for _, conversation := range []bool{false, true} {
		read := make(chan error, 1)
		c := serve(t, Options{Timeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conversation {
				if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
					t.Error(err)
				}
			}
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		})}, 1<<20)
		c.request(http.MethodPost, false)
		_ = c.WriteData(1, false, []byte("begun"))
		if !conversation {
			if err := await(t, read); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the body ended with %v", err)
			}
			continue
		}
		select {
		case err := <-read:
			t.Errorf("the body of a conversation ended with %v", err)
		case <-time.After(200 * time.Millisecond): // four times the time-out
		}
		_ = c.WriteData(1, true, nil)
		if err := await(t, read); err != nil {
			t.Errorf("the body of a conversation: %v", err)
		}
	}
}

// A body of which a byte comes now and then ends, too: it is below the least rate.
func TestTrickledBody(t *testing.T) {
	read := make(chan error, 1)
	c := serve(t, Options{Timeout: 200 * time.Millisecond, LeastRate: 1 << 20, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	})}, 1<<20)
	c.request(http.MethodPost, false)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < patience; <-tick.C {
		select {
		case err := <-read:
			if err == nil {
				t.Error("the body was read to its end")
			}
			return
		default:
			_ = c.WriteData(1, false, []byte("x")) // fails when the stream has ended
		}
	}
	t.Error("the handler still reads")
}

// A response of which the client takes nothing ends its stream, and its handler.
func TestResponseNotTaken(t *testing.T) {
	written := make(chan error, 1)
	c := serve(t, Options{Timeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 100_000)); err != nil {
				written <- err
				return
			}
		}
	})}, 0) // no window
	c.request(http.MethodGet, true)
	c.wantReset()
	if err := await(t, written); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the handler's write ended with %v", err)
	}
}

func await(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		t.Fatal("the handler has not ended")
		return nil
	}
}
