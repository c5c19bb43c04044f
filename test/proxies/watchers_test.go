package proxies

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// TestWatchersContinue has watchers of keys and of ranges, which start at different revisions and
// come and go, on several streams through a gRPC proxy, while the members are killed one after the
// other and values of all sizes are put: each gets every event of its range once, in order.
func TestWatchersContinue(t *testing.T) {
	const keys = 5
	f := newFleet(t, 3)
	p := startProxy(t, "grpcproxy", f.Members())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	writer := p.client(t)
	var last atomic.Int64  // the revision of the last put
	var final atomic.Int64 // after which there is one put of each key; 0 until then
	put := func(n int) bool {
		value := make([]byte, n*n*7%2_000)
		r, err := writer.Put(ctx, fmt.Sprintf("w/%d", n%keys), string(value))
		if err == nil {
			last.Store(r.Header.Revision)
		}
		return err == nil
	}
	for n := range 20 {
		put(n)
	}
	writing, stopWriting := context.WithCancel(ctx)
	var work, watching sync.WaitGroup
	work.Go(func() {
		for n := 20; writing.Err() == nil; n++ {
			put(n)
		}
	})

	type watch struct {
		key, end  string
		start     int64
		revisions []int64
	}
	var mu sync.Mutex
	var all []*watch
	follow := func(c *clientv3.Client, w *watch, opts []clientv3.OpOption, until int64) {
		bounded, stop := context.WithCancel(ctx)
		defer stop()
		for r := range c.Watch(bounded, w.key, append(opts, clientv3.WithRev(w.start))...) {
			if err := r.Err(); err != nil {
				t.Errorf("the watch of %s from %d: %v", w.key, w.start, err)
				return
			}
			for _, e := range r.Events {
				w.revisions = append(w.revisions, e.Kv.ModRevision)
			}
			if len(w.revisions) == 0 {
				continue
			}
			at, stop := w.revisions[len(w.revisions)-1], final.Load()
			if until > 0 && at >= until || stop > 0 && at > stop {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, w)
	}
	for range 4 {
		c := p.client(t)
		for n := range 3 * keys {
			w := &watch{key: fmt.Sprintf("w/%d", n%keys), start: 2 + int64(n)}
			var opts []clientv3.OpOption
			switch n / keys {
			case 1:
				w.key, w.end = "w/", clientv3.GetPrefixRangeEnd("w/")
				opts = append(opts, clientv3.WithPrefix(), clientv3.WithFragment())
			case 2:
				opts = append(opts, clientv3.WithPrevKV(), clientv3.WithProgressNotify())
			}
			watching.Go(func() { follow(c, w, opts, 0) })
		}
		watching.Go(func() { // watchers that come and go
			for writing.Err() == nil {
				from := max(1, last.Load()-5)
				follow(c, &watch{key: "w/", end: clientv3.GetPrefixRangeEnd("w/"), start: from}, []clientv3.OpOption{clientv3.WithPrefix()}, from+10)
			}
		})
	}
	for _, m := range f.Members() {
		before := last.Load()
		harness.Await(t, "the writer goes on", func() bool { return last.Load() > before+50 })
		must(t, m.Kill())
		before = last.Load()
		harness.Await(t, "the writer goes on without "+m.Name, func() bool { return last.Load() > before+50 })
		must(t, m.Start())
		must(t, m.AwaitHealthy(ctx))
	}
	stopWriting()
	work.Wait()
	final.Store(last.Load())
	for n := range keys {
		harness.Await(t, "the last put", func() bool { return put(n) })
	}
	watching.Wait()

	truth := map[string][]int64{}
	for r := range member(t, f).Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		must(t, r.Err())
		for _, e := range r.Events {
			truth[string(e.Kv.Key)] = append(truth[string(e.Kv.Key)], e.Kv.ModRevision)
			truth["w/"] = append(truth["w/"], e.Kv.ModRevision)
		}
		if r.Header.Revision >= last.Load() && truth["w/"][len(truth["w/"])-1] >= last.Load() {
			break
		}
	}
	for _, w := range all {
		want := truth[w.key]
		first, _ := slices.BinarySearch(want, w.start)
		want = want[first:]
		want = want[:min(len(w.revisions), len(want))]
		if len(w.revisions) == 0 || !slices.Equal(w.revisions, want) {
			t.Errorf("the watch of %q from %d got %d events, which are not the first ones of its range", w.key, w.start, len(w.revisions))
		}
	}
	t.Logf("%d watches, %d events of the range", len(all), len(truth["w/"]))
}
