package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Goroutines that handlers leave behind may write, flush and set deadlines at any time: no other
// response is affected.
func TestLateHandlers(t *testing.T) {
	const clientCount, requests = 4, 20
	ended := make(chan struct{}, clientCount*requests)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		begun := make(chan struct{})
		go func() {
			defer func() { ended <- struct{}{} }()
			close(begun)
			control := http.NewResponseController(w)
			for i := 0; ; i++ {
				w.Header()
				_ = control.SetWriteDeadline(time.Now().Add(time.Hour))
				if _, err := io.WriteString(w, r.URL.Path); errors.Is(err, errEnded) {
					break
				}
				if i%3 == 0 {
					_ = control.Flush()
				}
			}
			for range 5 {
				w.Header().Set("X-Late", "1")
				w.WriteHeader(http.StatusTeapot)
				if _, err := io.WriteString(w, "late"); !errors.Is(err, errEnded) {
					t.Error("write:", err)
				}
				if err := control.Flush(); !errors.Is(err, errEnded) {
					t.Error("flush:", err)
				}
				if _, _, err := control.Hijack(); err == nil {
					t.Error("hijacked the connection of another request")
				}
			}
			soon(t, "ended", func() bool { return r.Context().Err() != nil })
			if err := control.SetReadDeadline(longAgo); !errors.Is(err, errEnded) {
				t.Error("deadline:", err)
			}
		}()
		<-begun
	})
	var clients sync.WaitGroup
	for k := range clientCount {
		clients.Go(func() {
			c := dial(t, s.address)
			for i := range requests {
				path := fmt.Sprintf("/%d-%d", k, i)
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || strings.ReplaceAll(string(body), path, "") != "" || resp.StatusCode != http.StatusOK || resp.Header["X-Late"] != nil {
					t.Errorf("%s: %s %v %q %v", path, resp.Status, resp.Header, body, err)
					return
				}
			}
		})
	}
	clients.Wait()
	for range clientCount * requests {
		<-ended
	}
}

// TestHijackLate: the response that a handler wrote before it hijacks the connection is sent, and
// hijacking ends the context of the request.
func TestHijackLate(t *testing.T) {
	contexts, conns := make(chan context.Context, 1), make(chan net.Conn, 1)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Done()
		contexts <- r.Context()
		io.WriteString(w, "begun")
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		conns <- nc
	})
	c := dial(t, s.address).say("GET / HTTP/1.0\n\n")
	<-(<-contexts).Done()
	nc := <-conns
	fmt.Fprint(nc, " ended")
	nc.Close()
	c.want("begun ended")
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A handler that calls runtime.Goexit loses its connection, like one that panics.
func TestGoexit(t *testing.T) {
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/later" {
			w.(*exchange).Park(time.Now(), func(bool) { runtime.Goexit() })
			return
		}
		runtime.Goexit()
	})
	dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n").wantEnd()
	c := dial(t, s.address).say("GET /later HTTP/1.1\nHost: a\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		if _, err = io.ReadAll(resp.Body); err == nil {
			t.Fatal("the response has an end")
		}
	}
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Requests that were read ahead are not served once the connection is closed.
func TestNothingServedAfterClose(t *testing.T) {
	served, release := make(chan string, 2), make(chan struct{})
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "ok")
		w.(http.Flusher).Flush() // sends everything, so that nothing can fail later
		served <- r.URL.Path
		<-release
	})
	done := make(chan struct{})
	server, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	go io.Copy(io.Discard, far)
	go func() {
		s.ServeConn(server, []byte("GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n"), func() {})
		close(done)
	}()
	<-served
	s.Close()
	close(release)
	<-done
	if len(served) > 0 {
		t.Fatal("served", <-served)
	}
}

// The server waits for an unread body no longer than for one that the handler reads, even if each
// byte arrives in time.
func TestBodyTrickles(t *testing.T) {
	s := start(t, Options{ReadTimeout: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.URL.Path == "/own" {
			_ = control.SetReadDeadline(time.Now().Add(time.Hour))
		}
		if r.URL.Path == "/duplex" {
			_ = control.EnableFullDuplex()
		}
		io.WriteString(w, "unread")
	})})
	for _, path := range []string{"/", "/own", "/duplex"} {
		for _, framing := range []string{"Content-Length: 100000\n\n", "Transfer-Encoding: chunked\n\nffff\n"} {
			c := dial(t, s.address)
			c.say("POST "+path+" HTTP/1.1\nHost: a\n%s", strings.ReplaceAll(framing, "\n", "\r\n"))
			go func() {
				for {
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			c.want("unread")
			c.wantEnd()
		}
	}
}
