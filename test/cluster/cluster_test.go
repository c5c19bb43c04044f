// Package cluster runs clusters of real processes as users do: with etcd's flags, the official Go
// client, the v2 API and etcdctl. Members are killed, paused, added, removed, replaced, and cut off
// from each other.
//
// It owns the tests of guarantees that need several members: no acknowledged write is lost with a
// member, no read is stale, a term has one leader, all members end up equal. test/torture makes
// long runs with all faults.
//
// The tests do not depend on the speed of the machine: they wait for conditions. Measured times are
// logged, and have only limits that no machine exceeds.
//
// Concurrency: tests run in parallel, each with its own fleet.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// testMax is the maximum duration of a test, far above the usual one.
const testMax = 3 * time.Minute

// cluster is the fleet of one test; its methods fail the test on errors.
type cluster struct {
	*fleet.Fleet
	t   *testing.T
	ctx context.Context
}

// start bootstraps a cluster of n members with further flags, and waits until they are healthy.
func start(t *testing.T, n int, flags ...string) *cluster {
	t.Helper()
	return startOn(t, n, fleet.Config{Flags: flags})
}

func startOn(t *testing.T, n int, cfg fleet.Config) *cluster {
	t.Helper()
	cfg.Program, cfg.Dir = harness.Etcd(t), t.TempDir()
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), testMax)
		c := &cluster{Fleet: fleet.New(cfg), t: t, ctx: ctx}
		t.Cleanup(func() {
			cancel()
			c.end()
		})
		err := c.Bootstrap(ctx, n)
		if err == nil {
			return c
		}
		// Another process may have taken a port between the choice and the start.
		if try == 5 || !strings.Contains(c.logs(), "address already in use") {
			t.Fatal(err)
		}
		c.end()
		if err := os.RemoveAll(cfg.Dir); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) logs() (all string) {
	for _, m := range c.Members() {
		all += m.Log()
	}
	return all
}

func (c *cluster) end() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Error(err)
	}
	if c.t.Failed() {
		for _, m := range c.Members() {
			text := m.Log()
			c.t.Logf("end of the log of %s:\n%s", m.Name, text[max(0, len(text)-4000):])
		}
	}
}

// must fails the test on an error.
func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// client makes a client of some members that is closed at the end of the test.
func (c *cluster) client(members ...*fleet.Member) *clientv3.Client {
	c.t.Helper()
	client, err := c.Connect(members...)
	c.must(err)
	c.t.Cleanup(func() { _ = client.Close() }) // an ended context makes it return an error
	return client
}

func (c *cluster) leader() *fleet.Member {
	c.t.Helper()
	m, err := c.Leader(c.ctx)
	c.must(err)
	return m
}

// others returns the members except one.
func (c *cluster) others(but *fleet.Member) (others []*fleet.Member) {
	for _, m := range c.Members() {
		if m != but {
			others = append(others, m)
		}
	}
	return others
}

// await waits for a condition.
func (c *cluster) await(what string, ok func() bool) {
	c.t.Helper()
	for !ok() {
		select {
		case <-c.ctx.Done():
			c.t.Fatalf("waited %v for %s", testMax, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// put retries a put until it is acknowledged.
func (c *cluster) put(client *clientv3.Client, key, value string) {
	c.t.Helper()
	c.await("a put of "+key, func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		_, err := client.Put(ctx, key, value)
		return err == nil
	})
}

// get is one linearizable read.
func (c *cluster) get(client *clientv3.Client, key string) string {
	c.t.Helper()
	var value string
	c.await("a read of "+key, func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		resp, err := client.Get(ctx, key)
		if err != nil {
			return false
		}
		value = ""
		if len(resp.Kvs) == 1 {
			value = string(resp.Kvs[0].Value)
		}
		return true
	})
	return value
}

// equal waits until all members have the same content.
func (c *cluster) equal() {
	c.t.Helper()
	revision, hash, err := c.Converged(c.ctx)
	c.must(err)
	c.t.Logf("%d members at revision %d with hash %08x", len(c.Members()), revision, hash)
}

// v2 sends a request of the v2 API to a member and returns the body. It sends the request again
// when the cluster has no leader, as happens on a machine that is too busy for heartbeats.
func (c *cluster) v2(m *fleet.Member, method, path, form string) (body string) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s %s of %s", method, path, m.Name), func() bool {
		status, text, err := m.Do(c.ctx, method, path, form)
		if err == nil && status >= 300 && status < 500 {
			c.t.Fatalf("%s %s of %s: status %d, %s", method, path, m.Name, status, text)
		}
		body = string(text)
		return err == nil && status < 300
	})
	return body
}

// urls returns the members' client URLs.
func (c *cluster) urls() (all []string) {
	for _, m := range c.Members() {
		all = append(all, m.ClientURL())
	}
	return all
}

// write is a put that was acknowledged.
type write struct {
	key, value string
	revision   int64
}

// load writes from several clients, each connected to all members, and records the acknowledged
// writes.
type load struct {
	c    *cluster
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	writes []write // guarded by mu
}

func (c *cluster) load(clients int) *load {
	ctx, stop := context.WithCancel(c.ctx)
	l := &load{c: c, stop: stop}
	for n := range clients {
		client := c.client(c.Members()...)
		l.wg.Go(func() { l.run(ctx, n, client) })
	}
	c.t.Cleanup(l.end)
	return l
}

func (l *load) run(ctx context.Context, n int, client *clientv3.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		w := write{key: fmt.Sprintf("/load/%d/%d", n, i), value: fmt.Sprint(i)}
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		resp, err := client.Put(one, w.key, w.value)
		cancel()
		if err == nil {
			w.revision = resp.Header.Revision
			l.mu.Lock()
			l.writes = append(l.writes, w)
			l.mu.Unlock()
		} else {
			client.SetEndpoints(l.c.urls()...) // members are added and removed
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond): // leave CPU time for the members
		}
	}
}

// acknowledged returns the number of acknowledged writes.
func (l *load) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.writes)
}

// more waits until further writes have been acknowledged.
func (l *load) more(n int) {
	l.c.t.Helper()
	goal := l.acknowledged() + n
	l.c.await(fmt.Sprintf("%d further writes", n), func() bool { return l.acknowledged() >= goal })
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// check ends the load and checks that every member has the acknowledged writes.
func (l *load) check() {
	c := l.c
	c.t.Helper()
	l.end()
	c.equal()
	at := map[int64]write{}
	for _, w := range l.writes {
		if other, taken := at[w.revision]; taken {
			c.t.Errorf("revision %d was acknowledged for %s and for %s", w.revision, w.key, other.key)
		}
		at[w.revision] = w
	}
	for _, m := range c.Members() {
		resp, err := c.client(m).Get(c.ctx, "/load/", clientv3.WithPrefix(), clientv3.WithSerializable())
		c.must(err)
		found := map[string]write{}
		for _, kv := range resp.Kvs {
			found[string(kv.Key)] = write{string(kv.Key), string(kv.Value), kv.ModRevision}
		}
		lost := 0
		for _, w := range l.writes {
			if found[w.key] != w {
				if lost++; lost < 5 {
					c.t.Errorf("%s has %+v where %+v was acknowledged", m.Name, found[w.key], w)
				}
			}
		}
		if lost > 0 {
			c.t.Errorf("%s lacks %d of %d acknowledged writes", m.Name, lost, len(l.writes))
		}
	}
	c.t.Logf("%d acknowledged writes are on every member", len(l.writes))
}

// terms records the leader of each term, as every member reports it.
type terms struct {
	c    *cluster
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	leaders map[uint64]uint64 // guarded by mu: by term
	broken  error             // guarded by mu
}

func (c *cluster) terms() *terms {
	ctx, stop := context.WithCancel(c.ctx)
	w := &terms{c: c, stop: stop, leaders: map[uint64]uint64{}}
	for _, m := range c.Members() {
		client := c.client(m)
		w.wg.Go(func() {
			for ctx.Err() == nil {
				one, cancel := context.WithTimeout(ctx, time.Second)
				s, err := client.Status(one, m.ClientURL())
				cancel()
				if err == nil && s.Leader != 0 {
					w.note(s.RaftTerm, s.Leader)
				}
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	c.t.Cleanup(w.end)
	return w
}

func (w *terms) note(term, leader uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.leaders[term]; other != 0 && other != leader {
		w.broken = errors.Join(w.broken, fmt.Errorf("term %d has the leaders %x and %x", term, other, leader))
	}
	w.leaders[term] = leader
}

func (w *terms) end() {
	w.stop()
	w.wg.Wait()
}

// check ends the watch.
func (w *terms) check() {
	w.c.t.Helper()
	w.end()
	if w.broken != nil {
		w.c.t.Error(w.broken)
	}
	w.c.t.Logf("leaders by term: %x", w.leaders)
}

const get = http.MethodGet
