package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// nopConn is a connection for tests that do not use it.
type nopConn struct{ net.Conn }

func (nopConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// A request's context ends when its client disconnects or its response has ended, and not before.
func TestContext(t *testing.T) {
	contexts, errs, release := make(chan context.Context, 1), make(chan error, 1), make(chan struct{})
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Query().Has("asked") {
			_ = ctx.Done()
		}
		io.Copy(io.Discard, r.Body)
		contexts <- ctx
		select {
		case <-ctx.Done():
		case <-release:
		}
		errs <- ctx.Err()
	})
	for _, request := range []string{
		"GET /?asked HTTP/1.1\nHost: a\n\n",
		"POST /?asked HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody",
		"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
	} {
		c := dial(t, s.address).say("%s", request)
		if err := (<-contexts).Err(); err != nil {
			t.Fatalf("%q: %v at once", request, err)
		}
		c.Close()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("%q: %v after the client disconnected", request, err)
		}
		c = dial(t, s.address).say("%s", request)
		ctx := <-contexts
		release <- struct{}{}
		if err := <-errs; err != nil {
			t.Fatalf("%q: %v in the handler", request, err)
		}
		c.want("")
		<-ctx.Done()
		// The connection continues, also one on which bytes were read ahead.
		c.say("%s", request+request)
		for range 2 {
			<-contexts
			release <- struct{}{}
			<-errs
			c.want("")
		}
		if c.Close(); ctx.Err() == nil {
			t.Fatal("alive after the response")
		}
	}
}

// A handler that writes too late gets an error, and does not affect the next response.
func TestLateHandler(t *testing.T) {
	writers := make(chan http.ResponseWriter, 1)
	s := handle(t, func(w http.ResponseWriter, _ *http.Request) { writers <- w; io.WriteString(w, "one") })
	c := dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n")
	late := <-writers
	c.want("one")
	// The response ends for the client a little before it ends for the handler.
	soon(t, "ended", func() bool { _, err := late.Write([]byte("two")); return errors.Is(err, errEnded) })
	if err := http.NewResponseController(late).Flush(); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	c.say("GET / HTTP/1.1\nHost: a\n\n")
	<-writers
	c.want("one")
}

func TestPanic(t *testing.T) {
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		panic(map[string]any{"/abort": http.ErrAbortHandler, "/panic": "mistake"}[r.URL.Path])
	})
	for _, path := range []string{"/abort", "/panic"} {
		dial(t, s.address).say("GET %s HTTP/1.1\nHost: a\n\n", path).wantEnd()
	}
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A response whose length differs from the declared one ends the connection, so that the next is
// not read as a part of it.
func TestDeclaredLength(t *testing.T) {
	errs := make(chan error, 1)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, map[string]string{"/short": "hell", "/long": "hello!"}[r.URL.Path])
		errs <- err
	})
	c := dial(t, s.address).say("GET /short HTTP/1.1\nHost: a\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.ContentLength != 5 {
		t.Fatal(resp, err)
	} else if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	<-errs
	dial(t, s.address).say("GET /long HTTP/1.1\nHost: a\n\n")
	if err := <-errs; !errors.Is(err, http.ErrContentLength) {
		t.Fatal(err)
	}
}

// A handler that hijacks the connection gets the bytes that were read ahead, and the connection
// counts as open until it is closed.
func TestHijack(t *testing.T) {
	taken := make(chan net.Conn, 1)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Done()
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := w.Write(nil); !errors.Is(err, errEnded) {
			t.Error("write:", err)
		}
		fmt.Fprintf(rw, "taken\n")
		rw.Flush()
		for range 2 {
			line, err := rw.ReadString('\n')
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(nc, "heard %s", line)
		}
		taken <- nc
	})
	c := dial(t, s.address)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nahead\n")
	for _, want := range []string{"taken\n", "heard ahead\n"} {
		if line, err := c.r.ReadString('\n'); line != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	io.WriteString(c, "later\n")
	if line, _ := c.r.ReadString('\n'); line != "heard later\n" {
		t.Fatalf("%q", line)
	}
	nc := <-taken
	if err := s.Shutdown(t.Context()); err != nil || s.open.Load() != 1 {
		t.Fatal(err, s.open.Load())
	}
	nc.Close()
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A response may begin, and end, while the body is still arriving, however long that takes.
func TestFullDuplex(t *testing.T) {
	s := start(t, Options{ReadTimeout: time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		control.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "heard %s\n", lines.Text())
			control.Flush()
		}
	})})
	c := dial(t, s.address).say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(resp.Body)
	for _, word := range []string{"one", "two"} {
		time.Sleep(5 * time.Millisecond)
		c.say("%x\n%s\n\n", len(word)+2, word)
		if line, err := answers.ReadString('\n'); line != "heard "+word+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	c.say("0\n\n")
	if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil {
		t.Fatalf("%q, %v", rest, err)
	}
}

// Shutdown lets requests in progress end, closes idle connections at once, and returns when its
// context ends.
func TestShutdown(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-release
		}
		io.WriteString(w, "done")
	})
	idle := dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n")
	idle.want("done")
	busy := dial(t, s.address).say("GET /slow HTTP/1.1\nHost: a\n\n")
	<-begun
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	soon(t, "idle", func() bool { // the client sees the end a little earlier than the server
		if err := s.Shutdown(ended); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return s.open.Load() == 1
	})
	idle.wantEnd()
	close(release)
	if resp, body := busy.hear("GET"); body != "done" || !resp.Close {
		t.Fatalf("%q, close %v", body, resp.Close)
	}
	busy.wantEnd()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	dial(t, s.address).wantEnd() // after the shutdown
}

// startTLS is start over TLS. lender has the certificate, and clients that trust it.
func startTLS(t testing.TB, o Options) (s *server, lender *httptest.Server) {
	t.Helper()
	lender = httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(lender.Close)
	s = &server{Server: New(o)}
	t.Cleanup(s.Close)
	config := &tls.Config{Certificates: lender.TLS.Certificates}
	s.address = listen(t, func(nc net.Conn) {
		secured := tls.Server(nc, config)
		if err := secured.HandshakeContext(t.Context()); err != nil {
			t.Error(err)
			nc.Close()
			return
		}
		s.open.Add(1)
		s.ServeConn(secured, nil, func() { s.open.Add(-1) })
	})
	return s, lender
}

// dialTLS is dial for a server of startTLS.
func dialTLS(t testing.TB, address string, lender *httptest.Server) *client {
	t.Helper()
	plain := dial(t, address)
	nc := tls.Client(plain.Conn, &tls.Config{RootCAs: lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
	return &client{nc, t, bufio.NewReader(nc)}
}

// On a TLS connection the socket makes no system calls itself.
func TestTLS(t *testing.T) {
	s, lender := startTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = r.Context().Done()
		fmt.Fprint(w, r.TLS.Version == tls.VersionTLS13, w.(*exchange).Parks(), len(body))
		w.Write(make([]byte, 1<<20))
	})})
	client := lender.Client()
	for range 3 {
		resp, err := client.Post("https://"+s.address, "", &io.LimitedReader{R: zeros{}, N: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "true true 1048576"; err != nil || string(got[:len(want)]) != want || len(got) != len(want)+1<<20 {
			t.Fatalf("%.40q, %v", got, err)
		}
	}
	client.CloseIdleConnections()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// All ways in which the wait of Park can end, on a plain connection and over TLS.
func TestPark(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		testPark(t, func(h http.Handler) (*server, *client) {
			s := start(t, Options{Handler: h})
			return s, dial(t, s.address)
		})
	})
	t.Run("TLS", func(t *testing.T) {
		testPark(t, func(h http.Handler) (*server, *client) {
			s, lender := startTLS(t, Options{Handler: h})
			return s, dialTLS(t, s.address, lender)
		})
	})
}

func testPark(t *testing.T, connect func(http.Handler) (*server, *client)) {
	type parked struct {
		x      *exchange
		resume chan bool // receives clientGone
	}
	waiting := make(chan parked, 1)
	s, c := connect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		p := parked{x, make(chan bool, 1)}
		until := time.Now().Add(time.Hour)
		switch r.URL.Path {
		case "/asked":
			_ = r.Context().Done()
		case "/time":
			until = time.Now().Add(10 * time.Millisecond)
		case "/early":
			x.Wake()
		}
		again := r.URL.Path == "/again"
		var resume func(bool)
		resume = func(clientGone bool) {
			if again {
				again = false
				x.Park(until, resume)
				waiting <- p
				return
			}
			fmt.Fprint(w, r.URL.Path)
			p.resume <- clientGone
		}
		x.Park(until, resume)
		waiting <- p
	}))
	for range 3 {
		for _, path := range []string{"/wake", "/asked", "/time", "/early", "/again", "/late"} {
			c.say("GET %s HTTP/1.1\nHost: a\n\n", path)
			p := <-waiting
			if path == "/again" {
				p.x.Wake()
				p = <-waiting
			}
			if path != "/time" && path != "/early" {
				p.x.Wake()
			}
			if clientGone := <-p.resume; clientGone {
				t.Fatalf("%s: gone", path)
			}
			c.want(path)
			p.x.Wake() // has no further effect
		}
	}
	// The next request, larger than a buffer, may arrive before the response to the first.
	c.say("GET /wake HTTP/1.1\nHost: a\n\nPOST /early HTTP/1.1\nHost: a\nContent-Length: 9000\n\n%09000d", 0)
	p := <-waiting
	p.x.Wake()
	c.want("/wake")
	<-waiting
	c.want("/early")

	c.say("GET /gone HTTP/1.1\nHost: a\n\n")
	p = <-waiting
	c.Close()
	if clientGone := <-p.resume; !clientGone {
		t.Fatal("not gone")
	}
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// Many goroutines wake many waiting requests, repeatedly.
func TestParkManyTimes(t *testing.T) {
	waiting := make(chan *exchange, 64)
	s := handle(t, func(w http.ResponseWriter, _ *http.Request) {
		x := w.(*exchange)
		x.Park(time.Now().Add(time.Hour), func(clientGone bool) { fmt.Fprint(w, clientGone) })
		waiting <- x
	})
	for range 4 {
		go func() {
			for {
				select {
				case x := <-waiting:
					x.Wake()
				case <-t.Context().Done():
					return
				}
			}
		}()
	}
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			c := dial(t, s.address)
			for range 50 {
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if body, _ := io.ReadAll(resp.Body); string(body) != "false" {
					t.Errorf("%q", body)
				}
			}
		})
	}
	clients.Wait()
}

// TestErrAsksTheKernel: Err of a context that is not watched detects a disconnect.
func TestErrAsksTheKernel(t *testing.T) {
	answers := make(chan error, 2)
	proceed := make(chan struct{})
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answers <- r.Context().Err()
		<-proceed
		for end := time.Now().Add(time.Minute); r.Context().Err() == nil && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		answers <- r.Context().Err()
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := New(Options{Handler: handler})
	go func() {
		if nc, err := l.Accept(); err == nil {
			server.ServeConn(nc, nil, func() {})
		}
	}()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Errorf("the client waits, and the context has ended: %v", err)
	}
	client.Close()
	close(proceed)
	if err := <-answers; !errors.Is(err, context.Canceled) {
		t.Errorf("the client has disconnected: %v", err)
	}
}
