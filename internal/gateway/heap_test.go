package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"cairn/internal/budget"
	"cairn/test/heap"
)

// holder holds what it has been sent until the test ends, or responds with a large value.
type holder struct {
	etcdserverpb.UnimplementedKVServer
	served  chan struct{}
	release chan struct{}
}

func (h *holder) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	h.served <- struct{}{}
	<-h.release
	return &etcdserverpb.PutResponse{}, nil
}

const largeValue = 99_000

func (h *holder) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Value: make([]byte, largeValue)}}}, nil
}

// TestHeapOfJSON has many clients whose requests, or whose responses, take more than the budget
// together: the heap grows by the budget, and the rest is refused.
func TestHeapOfJSON(t *testing.T) {
	const limit, clients, slack = 8 << 20, 80, 2 << 20
	long := strings.Repeat("YWFh", largeValue/3)
	for name, body := range map[string]string{
		"put":   fmt.Sprintf(`{"key":"YQ==","value":"%s"}`, long),
		"range": `{"key":"YQ=="}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := &holder{served: make(chan struct{}), release: make(chan struct{})}
			b := budget.New(limit)
			g := New(Options{MessageBytesMax: 1 << 20})
			etcdserverpb.RegisterKVServer(g, h)
			refused := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				account := b.Open()
				defer account.Close()
				out := &heldWriter{ResponseWriter: w, h: h, refused: refused}
				g.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), budget.Key{}, account)))
			}))
			server.Start()
			before := heap.Live()
			var conns []net.Conn
			for range clients {
				nc, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, nc)
				go func() {
					_, _ = fmt.Fprintf(nc, "POST /v3/kv/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", name, len(body))
					_, _ = io.WriteString(nc, body)
				}()
			}
			held, dropped := 0, 0
			for held+dropped < clients {
				select {
				case <-h.served:
					held++
				case <-refused:
					dropped++
				}
			}
			heap.Within(t, fmt.Sprintf("%d of %d", held, clients), before, limit+slack)
			if held < 1 || dropped < clients/4 {
				t.Errorf("%d are held, %d refused", held, dropped)
			}
			close(h.release)
			for _, nc := range conns {
				_ = nc.Close()
			}
			server.Close()
			if n := b.Used(); n != 0 {
				t.Errorf("after the end %d bytes are taken", n)
			}
		})
	}
}

// heldWriter holds the text of a long response until the test ends, as a client does that does not
// read.
type heldWriter struct {
	http.ResponseWriter
	h       *holder
	refused chan struct{}
}

func (w *heldWriter) WriteHeader(code int) {
	if code == http.StatusTooManyRequests {
		w.refused <- struct{}{}
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *heldWriter) Write(text []byte) (int, error) {
	if len(text) > largeValue {
		w.h.served <- struct{}{}
		<-w.h.release
	}
	return w.ResponseWriter.Write(text)
}
