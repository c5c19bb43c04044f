// Package goclient drives a real server with the official Go client, go.etcd.io/etcd/client/v3.
//
// It owns the tests of that client's view of the KV service: every option of Get, Put and Delete,
// transactions, compaction, the typed errors of rpctypes, and that the v2 dialect shows the same
// keys with the same revisions. Expectations are relative to the server's current revision, since
// only the increments are promised, not the initial number.
//
// Concurrency: tests run one after the other, each on its own server or on its own keys.
package goclient

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// fixture is a running server with a client connected to it.
type fixture struct {
	*clientv3.Client
	t      *testing.T
	server *harness.Server
	ctx    context.Context
}

func start(t *testing.T, flags ...string) *fixture {
	t.Helper()
	server := harness.Start(t, flags...)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.URL()}, DialTimeout: time.Minute, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(func() {
		cancel()
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return &fixture{client, t, server, ctx}
}

// put writes keys with values, in order, and returns the revision after each.
func (f *fixture) put(pairs ...string) (revisions []int64) {
	f.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		resp, err := f.Put(f.ctx, pairs[i], pairs[i+1])
		if err != nil {
			f.t.Fatalf("put %s: %v", pairs[i], err)
		}
		revisions = append(revisions, resp.Header.Revision)
	}
	return revisions
}

// get reads and fails the test on an error.
func (f *fixture) get(key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	f.t.Helper()
	resp, err := f.Get(f.ctx, key, options...)
	if err != nil {
		f.t.Fatalf("get %q: %v", key, err)
	}
	return resp
}

// wantError checks an error against one of rpctypes, by errors.Is as programs do it.
func (f *fixture) wantError(what string, got, want error) {
	f.t.Helper()
	if !errors.Is(got, want) {
		f.t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// keys lists the keys of a response, in its order.
func keys(resp *clientv3.GetResponse) []string {
	list := []string{}
	for _, kv := range resp.Kvs {
		list = append(list, string(kv.Key))
	}
	return list
}
