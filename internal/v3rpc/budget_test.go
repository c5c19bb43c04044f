package v3rpc

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/budget"
	"cairn/internal/http2"
	"cairn/internal/metrics"
	"cairn/internal/watch"
	"cairn/test/grpctest"
)

// Lists share the budget: those without space wait, all of them are complete in the end, and their
// memory is released, also by those that are canceled.
func TestListsWithinABudget(t *testing.T) {
	const keys, value = 60, 100_000 // a list has 6 MB
	m := newLocalStore(t, watch.Limits{})
	for i := range keys {
		m.put(t, fmt.Sprintf("k%03d", i), make([]byte, value))
	}
	b := budget.New(20 << 20)
	server := grpctest.New(grpctest.Options{HTTP2: http2.Options{Budget: b}})
	Register(server, m.member(), metrics.New(1), Config{})
	addr := server.Listen(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			kv := etcdserverpb.NewKVClient(grpctest.Dial(t, addr))
			for j := range 4 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				if j == 2 {
					time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
				}
				req := &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Serializable: true}
				if i%3 == 2 {
					req.SortTarget, req.SortOrder = etcdserverpb.RangeRequest_VALUE, etcdserverpb.RangeRequest_DESCEND
				}
				resp, err := kv.Range(ctx, req)
				cancel()
				switch {
				case j == 2 && status.Code(err) == codes.Canceled:
				case err != nil:
					t.Errorf("list: %v", err)
				case len(resp.Kvs) != keys || len(resp.Kvs[keys-1].Value) != value:
					t.Errorf("%d keys", len(resp.Kvs))
				}
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(time.Minute); b.Used() > 6*(48<<10); runtime.Gosched() { // of 6 connections
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes were not released", b.Used())
		}
	}
}

// A list larger than the budget is refused.
func TestListLargerThanTheBudget(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	for i := range 40 {
		m.put(t, fmt.Sprintf("k%03d", i), make([]byte, 100_000))
	}
	b := budget.New(2 << 20)
	server := grpctest.New(grpctest.Options{HTTP2: http2.Options{Budget: b}})
	Register(server, m.member(), metrics.New(1), Config{})
	kv := etcdserverpb.NewKVClient(grpctest.Dial(t, server.Listen(t)))
	_, err := kv.Range(grpctest.Context(t), &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Serializable: true})
	grpctest.WantCode(t, err, codes.ResourceExhausted, "etcdserver: too many requests")
	resp, err := kv.Range(grpctest.Context(t), &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 3, Serializable: true})
	if err != nil || len(resp.Kvs) != 3 {
		t.Errorf("a short list: %v", err)
	}
}
