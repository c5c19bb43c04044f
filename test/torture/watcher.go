package main

import (
	"context"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// watcher watches all keys from the first revision on. It sometimes ends its watch, and resumes
// behind the last revision that it received.
type watcher struct {
	id      int
	member  string
	client  *clientv3.Client
	rec     *recorder
	rng     *rand.Rand
	restart time.Duration // mean duration of one watch; 0: it lasts until the end

	next int64 // the first revision that was not delivered in full
}

// run watches until the context ends.
func (w *watcher) run(ctx context.Context) {
	for w.next = 1; ctx.Err() == nil; {
		one, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		if w.restart > 0 {
			one, cancel = context.WithTimeout(clientv3.WithRequireLeader(ctx), time.Duration(w.rng.Int64N(int64(2*w.restart))))
		}
		w.watch(one)
		cancel()
		if !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
}

func (w *watcher) watch(ctx context.Context) {
	r := &check.Watch{Client: w.id, Member: w.member, Key: "\x00", End: "\x00", Start: w.next, PrevKV: true}
	options := []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithRev(w.next), clientv3.WithPrevKV(), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify()}
	for resp := range w.client.Watch(ctx, "\x00", options...) {
		if resp.Created {
			r.Created = resp.Header.Revision
			continue
		}
		d := check.Delivery{At: w.rec.now(), Revision: resp.Header.Revision, Progress: resp.IsProgressNotify(), Compacted: resp.CompactRevision}
		for _, e := range resp.Events {
			d.Events = append(d.Events, event(e))
			w.next = max(w.next, e.Kv.ModRevision+1)
		}
		if resp.Err() != nil && d.Compacted == 0 {
			break // the member has no leader, or is down
		}
		r.Deliveries = append(r.Deliveries, d)
		if d.Compacted != 0 {
			w.next = max(w.next, d.Compacted)
		}
	}
	w.rec.addWatch(r)
}
