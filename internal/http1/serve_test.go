package http1

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for an event.
const patience = time.Minute

// listen serves a handler on a loopback port until the test ends, with serve for each connection.
func listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go serve(nc)
		}
	}()
	return l.Addr().String()
}

// server serves with a Server, and counts its open connections.
type server struct {
	*Server
	address string
	open    atomic.Int64
}

func start(t testing.TB, o Options) *server {
	t.Helper()
	s := &server{Server: New(o)}
	t.Cleanup(s.Close)
	s.address = listen(t, func(nc net.Conn) {
		s.open.Add(1)
		s.ServeConn(nc, nil, func() { s.open.Add(-1) })
	})
	return s
}

func handle(t testing.TB, h http.HandlerFunc) *server {
	t.Helper()
	return start(t, Options{Handler: h})
}

// client is a connection on which the test writes raw bytes.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{nc, t, bufio.NewReader(nc)}
}

func (c *client) say(format string, args ...any) *client {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, strings.ReplaceAll(format, "\n", "\r\n"), args...); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// hear reads the response to a request of the given method.
func (c *client) hear(method string) (resp *http.Response, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s, then %v after %q", resp.Status, err, text)
	}
	return resp, string(text)
}

func (c *client) want(body string) {
	c.t.Helper()
	if resp, got := c.hear("GET"); resp.StatusCode != http.StatusOK || got != body {
		c.t.Fatalf("got %s %q, want %q", resp.Status, got, body)
	}
}

// wantEnd waits until the server closes the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %q, %v, want the end", rest, err)
	}
}

// soon waits until a condition holds.
func soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s after %v", what, patience)
		}
	}
}

// various responds in many ways, depending on the path.
func various() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s %q\n", r.Method, r.RequestURI, r.Host, r.Proto, r.Header["X-Seen"])
	})
	m.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%d %v %.40s", len(body), err, body)
	})
	m.HandleFunc("/silent", func(http.ResponseWriter, *http.Request) {})
	m.HandleFunc("/none", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.HandleFunc("/same", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	m.HandleFunc("/odd", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) })
	m.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html><body>") })
	m.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("long "), 10_000)) })
	m.HandleFunc("/bits", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3_000 {
			fmt.Fprint(w, i, " ")
		}
	})
	m.HandleFunc("/flushed", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		io.WriteString(w, "two")
	})
	m.HandleFunc("/declared", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5000")
		w.Write(bytes.Repeat([]byte("x"), 3000))
		w.Write(bytes.Repeat([]byte("y"), 2000))
	})
	m.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Several"] = []string{"a", "b"}
		w.Header().Set("X-Split", "one\r\nX-Smuggled: yes")
		w.Header()["Etag"] = []string{`"1"`}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	})
	m.HandleFunc("/closing", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "bye")
	})
	m.HandleFunc("/refused", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	return m
}

// Clients get the same response as from net/http.
func TestSameAsNetHTTP(t *testing.T) {
	theirs := &http.Server{Handler: various()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go theirs.Serve(l)
	t.Cleanup(func() { theirs.Close() })
	ours := start(t, Options{Handler: various()})
	requests := []string{
		"GET http://elsewhere/hello HTTP/1.1\nHost: a\n\n",
		"GET /hello?a=b%20c#d HTTP/1.1\nHost: a\n\n",
		"GET //hello HTTP/1.1\nHost: a\n\n",
		"GET /%68ello HTTP/1.1\nHost: a\n\n",
		"GET * HTTP/1.1\nHost: a\n\n",
		"CONNECT a:1 HTTP/1.1\nHost: a\n\n",
		"ODD /hello HTTP/1.1\nHost: a\n\n",
		"GET /hello HTTP/1.1\nhost: a\nx-seen: 1\nX-SEEN:2\n\n",
		"GET /hello HTTP/1.1\nHost: a\nConnection: close\n\n",
		"GET /hello HTTP/1.1\nHost: a\nConnection: Foo, CLOSE\n\n",
		"GET /hello HTTP/1.0\n\n",
		"GET /hello HTTP/1.0\nConnection: keep-alive\n\n",
		"GET /bits HTTP/1.0\nConnection: keep-alive\n\n",
		"POST /echo HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody",
		"POST /echo HTTP/1.1\nHost: a\nContent-Length: 4\nContent-Length: 4\n\nbody",
		"POST /echo HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
		"POST /echo HTTP/1.1\nHost: a\n\n",
		"POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n4;x=y\nbody\n00A\n0123456789\n0\nTrailer: x\n\n",
		"POST /hello HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody",
		"POST /hello HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n",
		"HEAD /hello HTTP/1.1\nHost: a\n\n",
		"HEAD /flushed HTTP/1.1\nHost: a\n\n",
		"HEAD /silent HTTP/1.1\nHost: a\n\n",
		"HEAD /declared HTTP/1.1\nHost: a\n\n",
		"GET /silent HTTP/1.1\nHost: a\n\n",
		"GET /none HTTP/1.1\nHost: a\n\n",
		"GET /same HTTP/1.1\nHost: a\n\n",
		"GET /odd HTTP/1.1\nHost: a\n\n",
		"GET /html HTTP/1.1\nHost: a\n\n",
		"GET /long HTTP/1.1\nHost: a\n\n",
		"GET /bits HTTP/1.1\nHost: a\n\n",
		"GET /flushed HTTP/1.1\nHost: a\n\n",
		"GET /declared HTTP/1.1\nHost: a\n\n",
		"GET /headers HTTP/1.1\nHost: a\n\n",
		"GET /closing HTTP/1.1\nHost: a\n\n",
		"GET /refused HTTP/1.1\nHost: a\n\n",
		"GET /missing HTTP/1.1\nHost: a\n\n",
		// Refused without a call of a handler.
		"GET /hello HTTP/1.1\n\n",
		"GET /hello HTTP/1.1\nHost: a\nHost: b\n\n",
		"GET /hello HTTP/1.1\nHost: a b\n\n",
		"GET /hello\n\n",
		"GET /hello HTTP/3.0\nHost: a\n\n",
		"GET /hello HTTP/one\nHost: a\n\n",
		"GET /he llo HTTP/1.1\nHost: a\n\n",
		"GET hello HTTP/1.1\nHost: a\n\n",
		"GET /%zz HTTP/1.1\nHost: a\n\n",
		"G(T /hello HTTP/1.1\nHost: a\n\n",
		"GET /hello HTTP/1.1\nHost: a\nX : y\n\n",
		"GET /hello HTTP/1.1\nHost: a\nX\n\n",
		"POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\n",
		"POST /echo HTTP/1.1\nHost: a\nContent-Length: -1\n\n",
		"POST /echo HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\nxx",
	}
	for _, request := range requests {
		want, got := converse(t, l.Addr().String(), request), converse(t, ours.address, request)
		if got != want {
			t.Errorf("%q:\n%.600s\nnet/http:\n%.600s", request, got, want)
		}
	}
}

// converse sends a text, and one more request if the connection is kept open, and returns all
// responses, without parts that vary: dates, chunk boundaries, and the texts of errors.
func converse(t *testing.T, address, request string) string {
	t.Helper()
	c := dial(t, address)
	io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n"))
	method, _, _ := strings.Cut(request, " ")
	var all strings.Builder
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			fmt.Fprintln(&all, "end:", err)
			return all.String()
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode >= 400 && resp.Close {
			body, resp.Status, resp.ContentLength = nil, strconv.Itoa(resp.StatusCode), 0
		}
		if resp.Header.Get("Date") != "" {
			resp.Header.Set("Date", "now")
		}
		fmt.Fprintln(&all, resp.Proto, resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Close, err, len(body))
		fmt.Fprintf(&all, "%x %.100q\n", sha256.Sum256(body), body)
		if !resp.Close {
			method = "GET"
			c.say("GET /closing HTTP/1.1\nHost: last\n\n")
		}
	}
}
