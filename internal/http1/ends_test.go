package http1

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// However connections end, concurrently and during Shutdown, each is removed once, and no goroutine
// is left.
func TestEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, stop := range []func(s *server){
		func(*server) {},
		func(s *server) { _ = s.Shutdown(t.Context()) },
		func(s *server) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_ = s.Shutdown(ctx)
			s.Close()
		},
		func(s *server) { s.Close() },
	} {
		s := handle(t, endingHandler)
		const n = 60
		var clients, asked sync.WaitGroup
		asked.Add(n)
		for i := range n {
			clients.Go(func() { endSomehow(t, s.address, i, asked.Done) })
		}
		asked.Wait()
		stop(s)
		clients.Wait()
		soon(t, "all closed", func() bool { return s.open.Load() == 0 })
		if left := len(s.conns.AppendAll(nil)); left > 0 {
			t.Errorf("%d connections left", left)
		}
	}
	// Each server listens until the test ends.
	soon(t, "all goroutines gone", func() bool { return runtime.NumGoroutine() <= before+4 })
}

func endingHandler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/park", "/woken", "/asked":
		x := w.(*exchange)
		until := time.Now().Add(200 * time.Millisecond)
		if r.URL.Path == "/asked" {
			_ = r.Context().Done()
		}
		var resume func(bool)
		resume = func(clientGone bool) {
			if !clientGone && time.Now().Before(until) {
				x.Park(until, resume)
			}
		}
		x.Park(until, resume)
		if r.URL.Path == "/woken" {
			go x.Wake()
		}
	case "/hijack":
		nc, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = nc.Close()
		}
	case "/panic":
		panic(http.ErrAbortHandler)
	case "/body":
		_, _ = io.ReadAll(r.Body)
	case "/long":
		_, _ = w.Write(make([]byte, 4<<20))
	}
}

// endSomehow is a client that sends a request and disconnects in one of several ways.
func endSomehow(t *testing.T, address string, i int, asked func()) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		asked()
		return
	}
	defer nc.Close() //nolint:errcheck // whatever way it ends
	nc.SetDeadline(time.Now().Add(patience))
	path := []string{"/", "/park", "/woken", "/asked", "/hijack", "/panic", "/body", "/long"}[i%8]
	length := 0
	if path == "/body" {
		length = 10
	}
	fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, length)
	asked()
	switch tcp := nc.(*net.TCPConn); i / 8 % 4 {
	case 0: // with a reset
		_ = tcp.SetLinger(0)
	case 1: // half-close first
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
	case 2: // after a part of a response
		if path != "/body" {
			_, _ = nc.Read(make([]byte, 10))
		}
	}
}
