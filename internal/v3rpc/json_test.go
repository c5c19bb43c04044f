package v3rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cairn/internal/budget"
	"cairn/internal/gateway"
	"cairn/internal/kv"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
	"cairn/test/heap"
)

// stuckWriter counts the responses that have begun to be sent.
type stuckWriter struct {
	http.ResponseWriter
	begun *atomic.Int64
}

func (w stuckWriter) WriteHeader(code int) {
	if code == http.StatusOK {
		w.begun.Add(1)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w stuckWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestHeapOfUnreadJSON has clients that ask for lists as JSON and read nothing. As many lists are
// sent at a time as the budget has room for their bytes, not for the forms that JSON is made of;
// the others wait, having read little. Once the clients read, each gets the whole list.
func TestHeapOfUnreadJSON(t *testing.T) {
	const keys, value, clients, limit = 60, 100_000, 8, 32 << 20 // a list has 6 MB
	m := newLocalStore(t, watch.Limits{})
	for i := range keys {
		m.put(t, fmt.Sprintf("k%03d", i), make([]byte, value))
	}
	if _, err := m.keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("k"), End: []byte("n")}}, new(mvcc.Collector)); err != nil {
		t.Fatal(err)
	}
	b := budget.New(limit)
	g := gateway.New(gateway.Options{MessageBytesMax: 1 << 20})
	Register(g, m.member(), metrics.New(1), Config{})
	var begun atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := b.Open()
		defer account.Close()
		g.ServeHTTP(stuckWriter{w, &begun}, r.WithContext(context.WithValue(r.Context(), budget.Key{}, account)))
	}))
	var conns []net.Conn
	defer func() { // also when the test has failed: the server waits for its connections
		for _, nc := range conns {
			_ = nc.Close()
		}
		server.Close()
	}()
	before := heap.Live()
	body := `{"key":"aw==","range_end":"bA==","serializable":true}`
	for range clients {
		nc, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
		_, _ = fmt.Fprintf(nc, "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	const room = 4 // lists that 30 MB have room for
	for deadline := time.Now().Add(time.Minute); begun.Load() < room; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d lists are being sent, want %d; %d bytes are taken", begun.Load(), room, b.Used())
		}
	}
	heap.Within(t, fmt.Sprintf("%d lists are being sent", begun.Load()), before, 5*limit/4)
	var reading sync.WaitGroup
	for _, nc := range conns {
		reading.Go(func() {
			if err := readJSONList(nc, keys, value); err != nil {
				t.Error(err)
			}
		})
	}
	reading.Wait()
	server.Close()
	if n := b.Used(); n != 0 {
		t.Errorf("after the end %d bytes are taken", n)
	}
}

// readJSONList reads a list as JSON, and checks it.
func readJSONList(nc net.Conn, keys, value int) error {
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list struct {
		Kvs   []struct{ Key, Value []byte }
		Count string
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return err
	}
	for i, kv := range list.Kvs {
		if want := fmt.Sprintf("k%03d", i); string(kv.Key) != want || len(kv.Value) != value {
			return fmt.Errorf("key %q with %d bytes, want %q with %d", kv.Key, len(kv.Value), want, value)
		}
	}
	if len(list.Kvs) != keys || list.Count != strconv.Itoa(keys) {
		return fmt.Errorf("%d keys, count %q, want %d", len(list.Kvs), list.Count, keys)
	}
	return nil
}
