package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %v", r.URL.Path, body, err)
}

// Requests that are sent at once get responses in order, on one connection.
func TestPipelined(t *testing.T) {
	s := handle(t, echo)
	c := dial(t, s.address)
	const n = 50
	for i := range n {
		c.say("POST /%d HTTP/1.1\nHost: a\nContent-Length: %d\n\n%0*d", i, 10+100*i, 10+100*i, i)
	}
	for i := range n {
		c.want(fmt.Sprintf("/%d %0*d <nil>", i, 10+100*i, i))
	}
	if open := s.open.Load(); open != 1 {
		t.Fatalf("%d connections", open)
	}
}

// The result does not depend on how the network splits a request.
func TestCutAnywhere(t *testing.T) {
	s := handle(t, echo)
	for _, request := range []string{
		"\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=\"1\"\r\nhe\r\n003\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
		"POST /p HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", // line feeds alone
	} {
		c := dial(t, s.address)
		for i := range request {
			cut := dial(t, s.address)
			io.WriteString(cut, request[:i])
			io.WriteString(c, request[i:i+1])
			cut.Close()
		}
		c.want("/p hello <nil>")
		for i := 1; i < len(request); i++ {
			io.WriteString(c, request[:i])
			// so that some are read separately; the outcome does not depend on it
			time.Sleep(10 * time.Microsecond)
			io.WriteString(c, request[i:])
			c.want("/p hello <nil>")
		}
	}
}

// The handler gets the error of a malformed body, and no other request is affected.
func TestBadBodies(t *testing.T) {
	readErrors := make(chan error, 1)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		readErrors <- err
		io.WriteString(w, "read")
	})
	for request, cause := range map[string]error{
		"Content-Length: 5\n\nhell":                                                             io.ErrUnexpectedEOF,
		"Transfer-Encoding: chunked\n\n5\nhell":                                                 io.ErrUnexpectedEOF,
		"Transfer-Encoding: chunked\n\n5\nhello\n0\n":                                           io.ErrUnexpectedEOF,
		"Transfer-Encoding: chunked\n\n\n":                                                      errChunk,
		"Transfer-Encoding: chunked\n\n-5\nhello\n0\n\n":                                        errChunk,
		"Transfer-Encoding: chunked\n\n5 5\nhello\n0\n\n":                                       errChunk,
		"Transfer-Encoding: chunked\n\n5\nhelloworld\n0\n\n":                                    errChunk,
		"Transfer-Encoding: chunked\n\n8000000000000000\nx\n":                                   errChunk,
		"Transfer-Encoding: chunked\n\n1;" + strings.Repeat("x", 2*chunkLineMax) + "\nx\n0\n\n": errChunk,
		"Transfer-Encoding: chunked\n\n0\n" + strings.Repeat("X: y\n", trailersMax):             errChunk,
	} {
		c := dial(t, s.address)
		c.say("POST / HTTP/1.1\nHost: a\n"+"%s", "")
		io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n"))
		c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		if err := <-readErrors; !errors.Is(err, cause) {
			t.Errorf("%.60q: %v, want %v", request, err, cause)
		}
		if resp, _ := c.hear("POST"); !resp.Close {
			t.Errorf("%.60q: the connection is kept open", request)
		}
		c.wantEnd()
	}
}

// An unread body is drained if it is short; otherwise the connection ends with the response.
func TestBodyLeft(t *testing.T) {
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 3))
		fmt.Fprint(w, r.URL.Path)
	})
	c := dial(t, s.address)
	for i, length := range []int{3, 4, 100_000, readOverMax} {
		c.say("POST /%d HTTP/1.1\nHost: a\nContent-Length: %d\n\n%0*d", i, length, length, 0)
		c.want(fmt.Sprintf("/%d", i))
		c.say("POST /%d HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n%x\n%0*d\n0\n\n", i, length, length, 0)
		c.want(fmt.Sprintf("/%d", i))
	}
	const long = 10 << 20
	c.say("POST /long HTTP/1.1\nHost: a\nContent-Length: %d\n\n%0*d", long, readOverMax/2, 0)
	if resp, body := c.hear("POST"); body != "/long" || !resp.Close {
		t.Fatalf("%q, close %v", body, resp.Close)
	}
	c.wantEnd()
}

// A client that expects 100-continue gets it when the handler reads the body, and not otherwise.
func TestExpectContinue(t *testing.T) {
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.(http.Flusher).Flush()
		}
		if r.URL.Path != "/not" {
			echo(w, r)
		}
	})
	const head = "POST %s HTTP/1.1\nHost: a\nContent-Length: 4\nExpect: 100-continue\n\n"
	c := dial(t, s.address)
	for range 2 {
		c.say(head, "/read")
		if line, err := c.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		c.r.ReadString('\n')
		c.say("body").want("/read body <nil>")
	}
	c.say(head, "/not")
	if resp, body := c.hear("POST"); resp.StatusCode != http.StatusOK || body != "" || !resp.Close {
		t.Fatalf("%s %q, close %v", resp.Status, body, resp.Close)
	}
	c = dial(t, s.address).say(head, "/early")
	if _, body := c.hear("POST"); body != "/early  "+errBodyNotWanted.Error() {
		t.Fatalf("%q", body)
	}
}

// Headers may be as long as the limit, and no longer.
func TestLongHeads(t *testing.T) {
	s := start(t, Options{MaxHeaderBytes: 20_000, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %d %v", len(r.Header["X"][0]), len(body), err)
	})})
	const rest = len("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\nX: \r\n\r\n")
	c := dial(t, s.address)
	for _, n := range []int{1, 4000, 4096, 8000, 20_000 - rest} {
		c.say("POST / HTTP/1.1\nHost: a\nContent-Length: 9000\nX: %0*d\n\n%09000d", n, 0, 0)
		c.want(fmt.Sprintf("%d 9000 <nil>", n))
	}
	c.say("POST / HTTP/1.1\nHost: a\nContent-Length: 9000\nX: %0*d\n\n", 20_000-rest+1, 0)
	if resp, _ := c.hear("POST"); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatal(resp.Status)
	}
	c = dial(t, s.address)
	go func() { // endless headers
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "X-%d: %01000d\r\n", i, i); err != nil {
				return
			}
		}
	}()
	if resp, err := http.ReadResponse(c.r, nil); err == nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatal(resp.Status)
	}
}

// The wait for the rest of a partial request is limited.
func TestSlowClients(t *testing.T) {
	read := make(chan error, 1)
	s := start(t, Options{
		ReadHeaderTimeout: 50 * time.Millisecond, ReadTimeout: 50 * time.Millisecond, WriteTimeout: 50 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/read" {
				_, err := io.ReadAll(r.Body)
				read <- err
				return
			}
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					read <- err
					return
				}
			}
		}),
	})
	for _, beginning := range []string{"G", "GET / HTTP/1.1\nHost: a\nX-", "\n\n"} {
		dial(t, s.address).say("%s", beginning).wantEnd()
	}
	for _, request := range []string{
		"POST /read HTTP/1.1\nHost: a\nContent-Length: 5\n\nhell",
		"POST /read HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5",
		"GET /written HTTP/1.1\nHost: a\n\n",
	} {
		dial(t, s.address).say("%s", request)
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: %v", request, err)
		}
	}
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A client may pause between requests.
func TestIdle(t *testing.T) {
	s := start(t, Options{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Millisecond, ReadTimeout: 10 * time.Millisecond})
	c := dial(t, s.address)
	for range 3 {
		time.Sleep(30 * time.Millisecond)
		c.say("GET /x HTTP/1.1\nHost: a\n\n").want("/x  <nil>")
	}
}

// FuzzRequest compares the parsed request with net/http's: every request that is accepted must mean
// the same.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT /v2/keys/a?b=c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Type: x\r\n\r\nabc",
		"POST http://b/ HTTP/1.0\nTransfer-Encoding: chunked\nConnection: close, keep-alive\n\n1\na\n0\n\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: \r\n\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := headEnd([]byte(text), 0)
		if n == 0 {
			return
		}
		for i := range n { // the head's end must not depend on how much of it was seen before
			if got := headEnd([]byte(text), max(0, i-3)); headEnd([]byte(text[:i]), 0) == 0 && got != n {
				t.Fatalf("head of %d bytes, but %d when %d were there before", n, got, i)
			}
		}
		c := newConn(New(Options{}), nopConn{}, func() {})
		p := &parser{c: c, x: &exchange{conn: c, length: unknown}}
		if p.parse(text[:n]) != nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("%q: let through what net/http refuses: %v", text, err)
		}
		got := &p.req
		if got.Method != want.Method || got.URL.String() != want.URL.String() || got.Host != want.Host || got.Proto != want.Proto ||
			got.Close != want.Close || got.ContentLength != want.ContentLength || (got.Body == http.NoBody) != (want.Body == http.NoBody) ||
			fmt.Sprint(got.TransferEncoding) != fmt.Sprint(want.TransferEncoding) {
			t.Fatalf("%q:\n%+v, net/http\n%+v", text, got, want)
		}
		delete(want.Header, "Cache-Control") // net/http adds it for Pragma
		delete(got.Header, "Cache-Control")
		if fmt.Sprint(got.Header) != fmt.Sprint(want.Header) {
			t.Fatalf("%q:\n%v, net/http\n%v", text, got.Header, want.Header)
		}
	})
}
