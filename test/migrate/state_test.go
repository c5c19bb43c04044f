package migrate

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// compactRevision returns the oldest revision that the old cluster has.
func (w *world) compactRevision() int64 {
	w.t.Helper()
	for resp := range w.from.Watch(w.t.Context(), "x", clientv3.WithRev(2)) {
		if resp.CompactRevision > 0 {
			return resp.CompactRevision
		}
	}
	w.t.Fatal("the old cluster was not compacted")
	return 0
}

// comparesHistory compares every change that the old cluster still has, and all keys at its last
// revision.
func (w *world) comparesHistory() {
	w.t.Helper()
	r, err := w.from.Get(w.t.Context(), "x")
	if err != nil {
		w.t.Fatal(err)
	}
	from, to := w.compactRevision(), r.Header.Revision
	sameKeys(w.t, w.from, w.to, to)
	sameKeys(w.t, w.from, w.to, (from+to)/2)
	// A deletion by the revision that a compaction names is an event in ours and none in etcd.
	from++
	compareLines(w.t, "history", history(w.t, w.from, from, to), history(w.t, w.to, from, to))
}

// leasesGoOn: the leases of the old cluster are in the new one, with their keys, and end there.
func (w *world) leasesGoOn() {
	w.t.Helper()
	ctx := w.t.Context()
	all, err := w.to.Leases(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	long := 0
	for _, l := range all.Leases {
		ttl, err := w.to.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			w.t.Fatal(err)
		}
		if ttl.GrantedTTL != 3600 {
			continue
		}
		long++
		was, err := w.from.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(ttl.Keys) != len(was.Keys) || len(ttl.Keys) == 0 || ttl.TTL < 3500 {
			w.t.Errorf("lease %x has %d keys and %d s left, want %d keys and nearly an hour", l.ID, len(ttl.Keys), ttl.TTL, len(was.Keys))
		}
	}
	if long != 1 {
		w.t.Errorf("%d leases of an hour in the new cluster, want 1", long)
	}
	harness.Await(w.t, "the short leases and their keys end", func() bool {
		r, err := w.to.Get(ctx, "/leased/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == 0
	})
}
