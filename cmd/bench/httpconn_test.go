package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// rawServer passes each connection to the function with its number, from 0, and then closes it.
func rawServer(t *testing.T, serve ...func(net.Conn, *bufio.Reader)) *httpConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for _, do := range serve {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				do(nc, bufio.NewReader(nc))
			})
		}
		if nc, err := l.Accept(); err == nil { // of a client that the test does not expect
			nc.Close()
		}
	})
	c := &httpConn{to: endpoint{"http", l.Addr().String()}}
	t.Cleanup(func() {
		c.close()
		l.Close()
		all.Wait()
	})
	return c
}

// responses sends the texts in order, one for each request.
func responses(texts ...string) func(net.Conn, *bufio.Reader) {
	return func(nc net.Conn, r *bufio.Reader) {
		for _, text := range texts {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
			if _, err := io.WriteString(nc, text); err != nil {
				return
			}
		}
	}
}

// get requests /x and returns status and body.
func get(ctx context.Context, c *httpConn) (response, error) {
	return send(ctx, c, httpRequest{method: http.MethodGet, path: []byte("/x")})
}

func send(ctx context.Context, c *httpConn, r httpRequest) (got response, err error) {
	err = c.do(ctx, r, func(status int, body []byte, err error) error {
		got.status, got.body = status, string(body)
		return err
	})
	return got, err
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestHTTPConnSends(t *testing.T) {
	got := make(chan string, 2)
	c := rawServer(t, func(nc net.Conn, r *bufio.Reader) {
		for _, length := range []int{12, 0} {
			var text strings.Builder
			for !strings.HasSuffix(text.String(), "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					got <- err.Error()
					return
				}
				text.WriteString(line)
			}
			if _, err := io.CopyN(&text, r, int64(length)); err != nil {
				got <- err.Error()
				return
			}
			got <- text.String()
			io.WriteString(nc, okAnswer)
		}
	})
	put := httpRequest{method: http.MethodPut, path: []byte("/a%20b"), header: []byte("X: y\r\n"), body: []byte("value=123456")}
	if a, err := send(t.Context(), c, put); err != nil || a.status != 200 || a.body != "ok" {
		t.Fatalf("response %v, error %v", a, err)
	}
	if want := "PUT /a%20b HTTP/1.1\r\nHost: " + c.to.address + "\r\nX: y\r\nContent-Length: 12\r\n\r\nvalue=123456"; <-got != want {
		t.Errorf("the server did not get %q", want)
	}
	if _, err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if want := "GET /x HTTP/1.1\r\nHost: " + c.to.address + "\r\n\r\n"; <-got != want {
		t.Errorf("the server did not get %q", want)
	}
}

// A connection that the server closes, announced or not, is replaced by another one.
func TestHTTPConnConnectsAgain(t *testing.T) {
	c := rawServer(t,
		responses(okAnswer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nclosed"),
		responses("HTTP/1.1 200 OK\r\n\r\nto the end"),
		responses("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthird"), // closes without an announcement
		responses("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfourth\r\n0\r\n\r\n"),
	)
	for _, want := range []string{"ok", "closed", "to the end", "third", "fourth"} {
		if got, err := get(t.Context(), c); err != nil || got.body != want {
			t.Fatalf("response %v, error %v, want %s", got, err, want)
		}
	}
}

// A request that may have been applied is not repeated silently: the caller counts requests.
func TestHTTPConnSendsSetsOnce(t *testing.T) {
	c := rawServer(t, responses(okAnswer), responses(okAnswer))
	put := httpRequest{method: http.MethodPut, path: []byte("/x")}
	if _, err := send(t.Context(), c, put); err != nil {
		t.Fatal(err)
	}
	if _, err := send(t.Context(), c, put); err == nil {
		t.Fatal("a set on a connection that was closed meanwhile: no error")
	}
	if _, err := send(t.Context(), c, put); err != nil {
		t.Errorf("behind it: %v", err)
	}
}

// A get is not repeated when a response had begun, nor on a new connection.
func TestHTTPConnErrors(t *testing.T) {
	const cut = "HTTP/1.1 200 OK\r\n"
	c := rawServer(t, responses(okAnswer, cut), responses(""), responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200"), responses(okAnswer))
	if _, err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"unexpected EOF", "before it responded", "which was not requested"} {
		if _, err := get(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("error %v, want %q", err, want)
		}
	}
	if _, err := get(t.Context(), c); err != nil {
		t.Errorf("behind the errors: %v", err)
	}
}

// The end of a context interrupts its own request, and none of another context.
func TestHTTPConnIsInterrupted(t *testing.T) {
	asked := make(chan struct{})
	c := rawServer(t, responses(okAnswer, okAnswer), func(_ net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			close(asked)
			io.Copy(io.Discard, r) // until the client disconnects
		}
	}, responses(okAnswer))
	warm, endWarm := context.WithCancel(t.Context())
	if _, err := get(warm, c); err != nil {
		t.Fatal(err)
	}
	endWarm()
	if _, err := get(warm, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: error %v", err)
	}
	c.interrupt(warm) // as its end does, possibly late
	// On the same connection, which the end of the first context must not affect.
	if _, err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.close()
	lost := errors.New("patience lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(lost)
	}()
	if _, err := get(ctx, c); !errors.Is(err, lost) {
		t.Errorf("error %v, want the cause of the context's end", err)
	}
	if got, err := get(t.Context(), c); err != nil || got.body != "ok" {
		t.Errorf("the next request: response %v, error %v", got, err)
	}
}

func TestHTTPConnOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.URL.Path)
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "https://")
	c := &httpConn{to: endpoint{"https", address}, tls: server.Client().Transport.(*http.Transport).TLSClientConfig}
	defer c.close()
	for range 2 {
		if got, err := get(t.Context(), c); err != nil || got.body != "HTTP/1.1 /x" {
			t.Fatalf("response %v, error %v", got, err)
		}
	}
	strict := &httpConn{to: endpoint{"https", address}, tls: &tls.Config{}}
	defer strict.close()
	var unknown *tls.CertificateVerificationError
	if _, err := get(t.Context(), strict); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "TLS handshake with "+address) {
		t.Errorf("a certificate of an unknown authority: error %v", err)
	}
}

// Clients that share a connection take turns on it.
func TestHTTPConnIsShared(t *testing.T) {
	texts := make([]string, 400)
	for i := range texts {
		texts[i] = okAnswer
	}
	c := rawServer(t, responses(texts...))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range len(texts) / 4 {
				if got, err := get(t.Context(), c); err != nil || got.body != "ok" {
					t.Errorf("response %v, error %v", got, err)
					return
				}
			}
		})
	}
	all.Wait()
}
