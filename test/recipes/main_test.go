// Package recipes drives a real server with the higher-level packages of the official Go client:
// sessions, mutexes, elections and software transactions (concurrency), namespaces, leased caches
// (leasing), mirrors, ordered reads, and names of services for gRPC.
//
// It owns the tests of what users of these rely on: the order of lock holders, the effects of a
// lost session, the anomalies that each isolation level forbids. test/goclient tests the responses
// of single requests.
//
// Concurrency: tests run one after the other; each has its own server.
package recipes

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// patience is how long a test waits for an event, far above the usual time.
const patience = time.Minute

// briefTTL is the TTL, in seconds, of a session that is to expire. A shorter one could expire too
// early, on a machine that stops for some seconds.
const briefTTL = 4

// fixture is a running server with a client connected to it.
type fixture struct {
	*clientv3.Client
	t      *testing.T
	server *harness.Server
	ctx    context.Context // ends when the test has taken too long
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, server: harness.Start(t)}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	f.ctx, f.Client = ctx, f.client()
	return f
}

// client returns a further client, as of another program.
func (f *fixture) client() *clientv3.Client {
	f.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{f.server.URL()}, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, context.Canceled) {
			f.t.Error(err)
		}
	})
	return c
}

// session starts a session with a TTL in seconds.
func (f *fixture) session(ttl int) *concurrency.Session {
	f.t.Helper()
	s, err := concurrency.NewSession(f.Client, concurrency.WithTTL(ttl), concurrency.WithContext(f.ctx))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Orphan)
	return s
}

func (f *fixture) must(what string, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

// value returns the value of a key; "" when it does not exist.
func (f *fixture) value(kv clientv3.KV, key string) string {
	f.t.Helper()
	resp, err := kv.Get(f.ctx, key)
	f.must("get "+key, err)
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// waiting waits until n keys have a prefix: each waiter for a lock or an election has one.
func (f *fixture) waiting(prefix string, n int64) {
	f.t.Helper()
	harness.Await(f.t, fmt.Sprintf("%d keys below %s", n, prefix), func() bool {
		resp, err := f.Get(f.ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		f.must("count "+prefix, err)
		return resp.Count == n
	})
}
