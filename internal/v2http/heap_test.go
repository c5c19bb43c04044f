package v2http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"cairn/internal/budget"
	"cairn/internal/kv"
	"cairn/internal/v2tree"
	"cairn/test/heap"
)

// heldBackend holds each command until the test ends.
type heldBackend struct {
	*tree
	served, release chan struct{}
}

func (b *heldBackend) ProposeV2(ctx context.Context, c *v2tree.Command) (v2tree.Result, error) {
	if len(c.Value) > 1000 {
		b.served <- struct{}{}
		<-b.release
	}
	return b.tree.ProposeV2(ctx, c)
}

// heldWriter holds the first part of a long response until the test ends, as a client does that
// does not read.
type heldWriter struct {
	http.ResponseWriter
	b       *heldBackend
	refused chan struct{}
	held    bool
}

func (w *heldWriter) WriteHeader(code int) {
	if code >= http.StatusBadRequest {
		w.refused <- struct{}{}
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *heldWriter) Write(text []byte) (int, error) {
	if len(text) >= longPartBytes && !w.held {
		w.held = true
		w.b.served <- struct{}{}
		<-w.b.release
	}
	return w.ResponseWriter.Write(text)
}

// TestHeapOfV2 has many clients whose forms, or whose listings, take more than the budget together:
// the heap grows by the budget. Forms beyond it are refused, listings wait.
func TestHeapOfV2(t *testing.T) {
	const limit, clients, slack = 8 << 20, 80, 2 << 20
	form := "value=" + strings.Repeat("v", 100_000)
	for name, requests := range map[string]string{
		"forms":           fmt.Sprintf("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form),
		"listings":        "GET /v2/keys/dir?recursive=true HTTP/1.1\r\nHost: a\r\n\r\n",
		"values":          "GET /v2/keys/long/0 HTTP/1.1\r\nHost: a\r\n\r\n",
		"previous values": "PUT /v2/keys/long/CLIENT?value=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := &heldBackend{newTree(t, func() kv.ClusterTime { return 1 }), make(chan struct{}), make(chan struct{})}
			for i := range 20 {
				c := v2tree.Command{Kind: v2tree.KindSet, Path: fmt.Appendf(nil, "/dir/%d", i), Value: bytes.Repeat([]byte("v"), 20_000)}
				if _, err := b.tree.ProposeV2(t.Context(), &c); err != nil {
					t.Fatal(err)
				}
			}
			for i := range clients {
				c := v2tree.Command{Kind: v2tree.KindSet, Path: fmt.Appendf(nil, "/long/%d", i), Value: bytes.Repeat([]byte("v"), 300_000)}
				if _, err := b.tree.ProposeV2(t.Context(), &c); err != nil {
					t.Fatal(err)
				}
			}
			memory, refused := budget.New(limit), make(chan struct{})
			h := New(Options{Backend: b})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				account := memory.Open()
				defer account.Close()
				r = r.WithContext(context.WithValue(r.Context(), budget.Key{}, account))
				h.ServeHTTP(&heldWriter{ResponseWriter: w, b: b, refused: refused}, r)
			}))
			before := heap.Live()
			var conns []net.Conn
			for i := range clients {
				request := strings.ReplaceAll(requests, "CLIENT", strconv.Itoa(i))
				nc, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, nc)
				go func() { _, _ = io.WriteString(nc, request) }()
			}
			held, dropped := 0, 0
			for held+dropped < clients && (held == 0 || !memory.Waiting()) {
				select {
				case <-b.served:
					held++
				case <-refused:
					dropped++
				case <-time.After(time.Millisecond): // asks again whether the others wait
				}
			}
			heap.Within(t, fmt.Sprintf("%d of %d", held, clients), before, limit+slack)
			if held < 1 || held > clients*3/4 {
				t.Errorf("%d are held, %d refused", held, dropped)
			}
			go func() {
				for {
					select {
					case _, more := <-b.served: // the listings that have waited
						if !more {
							return
						}
					case <-refused: // because their clients have disconnected
					}
				}
			}()
			close(b.release)
			for _, nc := range conns {
				_ = nc.Close()
			}
			server.Close()
			close(b.served)
			if n := memory.Used(); n != 0 {
				t.Errorf("after the end %d bytes are taken", n)
			}
		})
	}
}
