package http1

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// The connection of a client that trickles a body is closed, although each byte arrives in time.
func TestTrickle(t *testing.T) {
	read := make(chan error, 1)
	s := start(t, Options{ReadTimeout: 200 * time.Millisecond, LeastRate: 1 << 20, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	})})
	c := dial(t, s.address).say("POST / HTTP/1.1\nHost: a\nContent-Length: 1000000\n\n")
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
			_, _ = c.Write([]byte("x")) // fails when the server has closed the connection
		}
	}
	t.Error("the handler still reads")
}

// A connection without a request is closed, and one with a request in progress is not.
func TestUnusedConnections(t *testing.T) {
	release := make(chan struct{})
	s := start(t, Options{IdleTimeout: 20 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			<-release
		}
	})})
	busy := dial(t, s.address).say("GET /busy HTTP/1.1\nHost: a\n\n")
	used := dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n")
	used.want("")
	fresh := dial(t, s.address)
	used.wantEnd()
	fresh.wantEnd()
	close(release)
	busy.want("")
	busy.wantEnd()
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A waiting request needs little memory, also over TLS: neither the handler's stack nor a buffer.
func TestParkedMemory(t *testing.T) {
	const polls = 100
	parked := make(chan struct{})
	s, lender := startTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var stack [32 << 10]byte // like handlers with deep calls
		for i := range stack {
			stack[i] = r.URL.Path[i%len(r.URL.Path)]
		}
		if r.URL.Path != "/poll" {
			fmt.Fprint(w, stack[1] == 'p')
			return
		}
		w.(*exchange).Park(time.Now().Add(time.Hour), func(bool) {})
		parked <- struct{}{}
	})})
	measure := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	clients := make([]*client, polls)
	for i := range clients {
		clients[i] = dialTLS(t, s.address, lender)
		clients[i].say("GET / HTTP/1.1\nHost: a\n\n").want("false")
	}
	_ = measure() // the first measurement waits for the rest of earlier tests
	idle := measure()
	for _, c := range clients {
		c.say("GET /poll HTTP/1.1\nHost: a\n\n")
		<-parked
	}
	grown := (measure() - idle) / polls
	// The goroutines of the last handlers may not have ended yet.
	for end := time.Now().Add(patience); grown > 1<<10 && time.Now().Before(end); grown = (measure() - idle) / polls {
		time.Sleep(10 * time.Millisecond)
	}
	if grown > 1<<10 {
		t.Errorf("a parked request takes %d bytes more than an idle connection", grown)
	}
}
