package migrate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// load is writers that change over to the new cluster when the old one refuses a write.
type load struct {
	done   chan struct{} // closed to end the writers, each after its write
	wg     sync.WaitGroup
	newest atomic.Int64 // revision that a writer has seen

	mu            sync.Mutex
	last          map[string]write // by key: the newest acknowledged write
	before, moved int              // acknowledged writes of each cluster
	gap           time.Duration    // the longest between two acknowledged writes of one writer
}

// write is an acknowledged write of a key, which one writer alone writes.
type write struct {
	revision int64
	value    string
	deleted  bool
}

func (w *world) startLoad(writers int, seed uint64) *load {
	l := &load{done: make(chan struct{}), last: map[string]write{}}
	for i := range writers {
		l.wg.Go(func() { l.write(w.t.Context(), i, rand.New(rand.NewPCG(seed, uint64(100+i))), w.from, w.to) })
	}
	harness.Await(w.t, "the writers write", func() bool { return l.newest.Load() > 0 })
	return l
}

func (l *load) revision() int64 { return l.newest.Load() }

// stop ends the writers after they have written to the new cluster for a while.
func (l *load) stop() {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		l.mu.Lock()
		moved := l.moved
		l.mu.Unlock()
		if moved > 200 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(l.done)
	l.wg.Wait()
}

// write writes until done is closed: one key with each put or delete, three with a transaction.
func (l *load) write(ctx context.Context, id int, rng *rand.Rand, old, next *clientv3.Client) {
	c, moved, acked := old, false, time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-l.done:
			return
		default:
		}
		keys, values, revision, deleted, err := l.one(ctx, c, id, n, rng)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !moved && strings.Contains(err.Error(), "corrupt"): // refused: not applied
			c, moved = next, true
			continue
		case err != nil:
			time.Sleep(5 * time.Millisecond)
			continue
		}
		l.newest.Store(max(l.newest.Load(), revision))
		l.mu.Lock()
		if moved {
			l.moved++
		} else {
			l.before++
		}
		for i, key := range keys {
			l.last[key] = write{revision: revision, value: values[i], deleted: deleted}
		}
		l.gap = max(l.gap, time.Since(acked))
		l.mu.Unlock()
		acked = time.Now()
	}
}

// one makes one write, which is applied at most once.
func (l *load) one(ctx context.Context, c *clientv3.Client, id, n int, rng *rand.Rand) (keys, values []string, revision int64, deleted bool, err error) {
	key := fmt.Sprintf("/load/%d/%d", id, rng.IntN(40))
	value := fmt.Sprintf("%d-%s", n, strings.Repeat("x", rng.IntN(200)))
	switch rng.IntN(10) {
	case 0, 1:
		r, err := c.Delete(ctx, key)
		if err != nil {
			return nil, nil, 0, false, err
		}
		return []string{key}, []string{""}, r.Header.Revision, true, nil
	case 2, 3:
		keys = []string{key, key + "/a", key + "/b"}
		values = []string{value, value, value}
		r, err := c.Txn(ctx).Then(
			clientv3.OpPut(keys[0], value), clientv3.OpPut(keys[1], value), clientv3.OpPut(keys[2], value), clientv3.OpDelete(key+"/c"),
		).Commit()
		if err != nil {
			return nil, nil, 0, false, err
		}
		return keys, values, r.Header.Revision, false, nil
	case 4:
		lease, err := c.Grant(ctx, 2) // expires meanwhile, with its key
		if err != nil {
			return nil, nil, 0, false, err
		}
		_, err = c.Put(ctx, fmt.Sprintf("/leased/%d/%d", id, n), value, clientv3.WithLease(lease.ID))
		return nil, nil, 0, false, err
	default:
		r, err := c.Put(ctx, key, value)
		if err != nil {
			return nil, nil, 0, false, err
		}
		return []string{key}, []string{value}, r.Header.Revision, false, nil
	}
}

// check compares what was acknowledged with what the new cluster has.
func (l *load) check(t *testing.T, c *clientv3.Client) {
	t.Helper()
	for key, want := range l.last {
		r, err := c.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case want.deleted && len(r.Kvs) > 0:
			t.Errorf("key %s was deleted at revision %d and is there, of revision %d", key, want.revision, r.Kvs[0].ModRevision)
		case want.deleted:
		case len(r.Kvs) == 0 || r.Kvs[0].ModRevision != want.revision || string(r.Kvs[0].Value) != want.value:
			t.Errorf("key %s: %v, want the write of revision %d", key, r.Kvs, want.revision)
		}
	}
}

// watchers are a watch of each cluster from the same revision on.
type watchers struct {
	w    *world
	from int64
	mu   sync.Mutex // guards got
	got  [2][]string
	wg   sync.WaitGroup
	end  context.CancelFunc
}

// newest returns the last event that the watcher of the new cluster has received.
func (x *watchers) newest() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if got := x.got[1]; len(got) > 0 {
		return got[len(got)-1]
	}
	return ""
}

// watchFrom watches the load's keys in both clusters. In the new one the watch begins when its
// revision is in the future.
func (w *world) watchFrom(revision int64) *watchers {
	ctx, end := context.WithCancel(w.t.Context())
	x := &watchers{w: w, from: revision, end: end}
	for i, c := range []*clientv3.Client{w.from, w.to} {
		x.wg.Go(func() {
			for resp := range c.Watch(ctx, "/load/", clientv3.WithPrefix(), clientv3.WithRev(revision)) {
				x.mu.Lock()
				for _, e := range resp.Events {
					x.got[i] = append(x.got[i], line(e))
				}
				x.mu.Unlock()
			}
		})
	}
	return x
}

// check: the watcher of the new cluster has got all that the old one's has, and then the rest of
// what happened, each once.
func (x *watchers) check() {
	t := x.w.t
	t.Helper()
	r, err := x.w.to.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, l := range history(t, x.w.to, x.w.compactRevision(), r.Header.Revision) {
		if strings.Contains(l, `"/load/`) {
			want = append(want, l)
		}
	}
	if len(want) > 0 {
		harness.Await(t, "the last event of the new cluster's watcher", func() bool { return x.newest() == want[len(want)-1] })
	}
	x.end()
	x.wg.Wait()
	old, next := x.got[0], x.got[1]
	if len(next) < len(old) || len(next) < len(want) {
		t.Fatalf("the new cluster's watcher has %d events, the old one's %d; %d in history", len(next), len(old), len(want))
	}
	compareLines(t, "events of the watchers", old, next[:len(old)])
	compareLines(t, "events of the new cluster's watcher and its history", want, next[len(next)-len(want):])
}

// history is all events of a cluster from a revision on, a line each.
func history(t *testing.T, c *clientv3.Client, from, to int64) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for resp := range c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from), clientv3.WithProgressNotify()) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Events {
			if e.Kv.ModRevision > to {
				return lines
			}
			lines = append(lines, line(e))
		}
		if n := len(resp.Events); n > 0 && resp.Events[n-1].Kv.ModRevision == to {
			return lines
		}
	}
	t.Fatalf("the watch from revision %d ended before revision %d", from, to)
	return nil
}

func line(e *clientv3.Event) string {
	k := e.Kv
	if e.Type == mvccpb.DELETE {
		return fmt.Sprintf("%d delete %q", k.ModRevision, k.Key)
	}
	return fmt.Sprintf("%d put %q=%q create %d version %d lease %x", k.ModRevision, k.Key, k.Value, k.CreateRevision, k.Version, k.Lease)
}

// allKeys returns all keys as of a revision, a line each; 0 is the present one.
func allKeys(t *testing.T, c *clientv3.Client, revision int64) string {
	t.Helper()
	r, err := c.Get(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithRev(revision))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, k := range r.Kvs {
		fmt.Fprintf(&b, "%q=%q create %d mod %d version %d lease %x\n", k.Key, k.Value, k.CreateRevision, k.ModRevision, k.Version, k.Lease)
	}
	return b.String()
}

// sameKeys compares all keys as of a revision.
func sameKeys(t *testing.T, a, b *clientv3.Client, revision int64) {
	t.Helper()
	was, is := strings.Split(allKeys(t, a, revision), "\n"), strings.Split(allKeys(t, b, revision), "\n")
	compareLines(t, fmt.Sprintf("keys as of revision %d", revision), was, is)
}

func compareLines(t *testing.T, what string, was, is []string) {
	t.Helper()
	for i := range max(len(was), len(is)) {
		switch {
		case i >= len(is):
			t.Errorf("%s: %d lines, want %d; missing %s", what, len(is), len(was), was[i])
			return
		case i >= len(was):
			t.Errorf("%s: %d lines, want %d; too many %s", what, len(is), len(was), is[i])
			return
		case was[i] != is[i]:
			t.Errorf("%s: line %d\nis   %s\nwant %s", what, i, is[i], was[i])
			return
		}
	}
}
