package goclient

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The tests are named after issues of github.com/etcd-io/etcd that must not occur here.

// next returns the next response of a Watch call.
func (c *call) next() *etcdserverpb.WatchResponse {
	c.t.Helper()
	select {
	case r, ok := <-c.answers:
		if !ok {
			c.t.Fatal("the stream has ended")
		}
		return r
	case <-c.ctx.Done():
		c.t.Fatal("no response")
	}
	return nil
}

// Test15220: a requested progress notification is neither ahead of events still to come, nor behind
// those already received.
func Test15220(t *testing.T) {
	f := start(t)
	c := watchCall(f)
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l")})
	created := c.next()
	const puts = 300
	var writer sync.WaitGroup
	defer writer.Wait() // the last event may arrive before the response to its put
	writer.Go(func() {
		for i := range puts {
			if _, err := f.Put(f.ctx, fmt.Sprint("k", i%7), fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	received, answers := created.Header.Revision, 0
	c.progress()
	for received < created.Header.Revision+puts || answers == 0 {
		r := c.next()
		if len(r.Events) == 0 {
			if r.WatchId != -1 || r.Header.Revision != received {
				t.Fatalf("progress %d of watch %d, events up to %d", r.Header.Revision, r.WatchId, received)
			}
			if answers++; received < created.Header.Revision+puts {
				c.progress()
			}
			continue
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != received+1 {
				t.Fatalf("event of revision %d after %d", e.Kv.ModRevision, received)
			}
			received++
		}
	}
}

// Test17529: hundreds of watches with prev_kv on one stream, whose client reads nothing for a
// while, receive every event, or the cancellation by a compaction; none skips events silently.
func Test17529(t *testing.T) {
	f := start(t)
	const watches, puts = 300, 200
	value := strings.Repeat("v", 2000)
	first := f.put("k", value)[0] + 1
	c := watchCall(f)
	for i := range watches {
		c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), PrevKv: true, WatchId: int64(i + 1), StartRevision: first})
	}
	for range watches {
		if r := c.next(); !r.Created || r.Canceled {
			t.Fatalf("create responds %v", r)
		}
	}
	for i := range puts {
		last := f.put("k", value)[0]
		if i == puts/2 {
			if _, err := f.Compact(f.ctx, last); err != nil {
				t.Fatal(err)
			}
		}
	}
	next := slices.Repeat([]int64{first}, watches+1)
	for left := watches; left > 0; {
		r := c.next()
		if r.Canceled {
			if r.CompactRevision <= next[r.WatchId] {
				t.Fatalf("watch %d wants %d and is ended, compacted at %d", r.WatchId, next[r.WatchId], r.CompactRevision)
			}
			left--
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next[r.WatchId] {
				t.Fatalf("watch %d is received of revision %d, want %d", r.WatchId, e.Kv.ModRevision, next[r.WatchId])
			}
			if next[r.WatchId]++; next[r.WatchId] == first+puts {
				left--
			}
		}
	}
}

// Test18089 is Test19179, too: a watch that begins at the compacted revision receives the delete of
// that revision, also when the server was killed right after the compaction.
func Test18089(t *testing.T) {
	f := start(t)
	f.put("k", "1", "k", "2")
	deleted, err := f.Delete(f.ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	at := deleted.Header.Revision
	f.put("k", "3")
	if _, err := f.Compact(f.ctx, at, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("DELETE %d PUT %d", at, at+1)
	for range 2 {
		var got []string
		for _, e := range f.hear(f.Watch(f.ctx, "k", clientv3.WithRev(at)), 2) {
			got = append(got, fmt.Sprint(e.Type, " ", e.Kv.ModRevision))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("received %v, want %s", got, want)
		}
		f.server.Kill()
		f.server.Restart()
	}
}

// Test20221: a watch that begins in the future receives no progress before its start.
func Test20221(t *testing.T) {
	f := start(t, "--watch-progress-notify-interval", "50ms")
	c := watchCall(f)
	begins := f.revision() + 3
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), StartRevision: begins, ProgressNotify: true, WatchId: 5})
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("other"), ProgressNotify: true, WatchId: 6})
	notices := 0
	for range 2 {
		if r := c.next(); !r.Created {
			t.Fatalf("create responds %v", r)
		}
	}
	for notices < 3 { // of the other watch, meanwhile
		if r := c.next(); r.WatchId != 6 {
			t.Fatalf("received %v", r)
		}
		notices++
	}
	f.put("k", "1", "k", "2")
	f.put("k", "3")
	for {
		r := c.next()
		if r.WatchId != 5 {
			continue
		}
		if len(r.Events) == 0 && r.Header.Revision < begins-1 {
			t.Fatalf("progress %d of a watch that begins at %d", r.Header.Revision, begins)
		}
		if len(r.Events) > 0 {
			if got := r.Events[0].Kv.ModRevision; got != begins {
				t.Errorf("first received of revision %d, want %d", got, begins)
			}
			return
		}
	}
}

// Test20707: negative revisions are refused, and do not affect the other watches.
func Test20707(t *testing.T) {
	f := start(t)
	first := f.put("k", "1")[0]
	c := watchCall(f)
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), StartRevision: first, WatchId: 7})
	for _, rev := range []int64{-1, -2, -1 << 63} {
		c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("k"), StartRevision: rev})
	}
	var refused, events int
	for refused < 3 || events < 1 {
		r := c.next()
		events += len(r.Events)
		if r.Canceled {
			refused++
			if r.WatchId != -1 || r.CancelReason != rpctypes.ErrCompacted.Error() {
				t.Errorf("refused by %v", r)
			}
		}
	}
}

// Test15274: a watch that begins in the future receives nothing before its start, and everything
// from then on.
func Test15274(t *testing.T) {
	f := start(t)
	begins := f.revision() + 4
	w := f.Watch(f.ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(begins))
	f.put("k1", "1", "k1", "2", "k1", "3", "k1", "4", "k2", "5")
	if events := f.hear(w, 2); events[0].Kv.ModRevision != begins || events[1].Kv.ModRevision != begins+1 {
		t.Errorf("received %s, want the revisions from %d on", lines(events), begins)
	}
}

// Test14239: negative lease IDs work like others, also after a restart.
func Test14239(t *testing.T) {
	f := start(t)
	for _, id := range []int64{-1, -1 << 63, -12345} {
		if _, err := f.chosen(id, 600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Put(f.ctx, fmt.Sprint("k", id), "v", clientv3.WithLease(clientv3.LeaseID(id))); err != nil {
			t.Fatal(err)
		}
	}
	f.server.Kill()
	f.server.Restart()
	for _, id := range []clientv3.LeaseID{-1, -1 << 63, -12345} {
		if r, err := f.KeepAliveOnce(f.ctx, id); err != nil || r.TTL != 600 || r.ID != id {
			t.Errorf("renewal of %d: %v, %v", id, r, err)
		}
		if r, err := f.TimeToLive(f.ctx, id, clientv3.WithAttachedKeys()); err != nil || len(r.Keys) != 1 || r.GrantedTTL != 600 {
			t.Errorf("%d: %v, %v", id, r, err)
		}
		if _, err := f.Revoke(f.ctx, id); err != nil {
			t.Error(err)
		}
	}
	if n := f.get("k", clientv3.WithPrefix()).Count; n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// Test20615: a revoked lease is not renewed, however soon after the revocation.
func Test20615(t *testing.T) {
	f := start(t)
	for range 50 {
		id := f.grant(600)
		f.putLeased("k", id)
		revoked := make(chan error, 1)
		go func() {
			_, err := f.Revoke(f.ctx, id)
			revoked <- err
		}()
		for { // renewals that succeed precede the revocation: their keys exist
			before := len(revoked) > 0
			_, err := f.KeepAliveOnce(f.ctx, id)
			if err == nil && before {
				t.Fatal("a revoked lease is renewed")
			}
			if err != nil {
				f.wantError("renewal of a revoked lease", err, rpctypes.ErrLeaseNotFound)
				break
			}
		}
		if err := <-revoked; err != nil {
			t.Fatal(err)
		}
		if got := f.get("k").Count; got != 0 {
			t.Fatal("the lease is revoked, but its key exists")
		}
	}
}

func (f *fixture) putLeased(key string, id clientv3.LeaseID) {
	f.t.Helper()
	if _, err := f.Put(f.ctx, key, "v", clientv3.WithLease(id)); err != nil {
		f.t.Fatal(err)
	}
}

// Test15815: a lease has exactly the keys that are attached to it, after any changes of the keys.
func Test15815(t *testing.T) {
	f := start(t)
	a, b := f.grant(600), f.grant(600)
	keys := func(id clientv3.LeaseID) string {
		t.Helper()
		r, err := f.TimeToLive(f.ctx, id, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range r.Keys {
			names = append(names, string(k))
		}
		return strings.Join(names, " ")
	}
	for _, k := range []string{"k1", "k2", "k3", "k4", "k5"} {
		f.putLeased(k, a)
	}
	f.putLeased("k1", b)            // moved
	f.put("k2", "without")          // detached
	_, err := f.Delete(f.ctx, "k3") // deleted
	_, err2 := f.Txn(f.ctx).Then(   // deleted, and moved, in a transaction
		clientv3.OpDelete("k4"), clientv3.OpPut("k5", "v", clientv3.WithLease(b)), clientv3.OpPut("k6", "v", clientv3.WithLease(a))).Commit()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if _, err := f.Put(f.ctx, "k6", "kept", clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	if got, got2 := keys(a), keys(b); got != "k6" || got2 != "k1 k5" {
		t.Errorf("the leases have %q and %q", got, got2)
	}
	for _, id := range []clientv3.LeaseID{a, b} {
		if _, err := f.Revoke(f.ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if kvs := f.get("k", clientv3.WithPrefix()).Kvs; len(kvs) != 1 || string(kvs[0].Key) != "k2" || kvs[0].Lease != 0 {
		t.Errorf("left: %v", kvs)
	}
}

// TestWatchLimit: a stream accepts a limited number of watches, and refuses the next with an error;
// the client's other streams, and this one's other watches, continue.
func TestWatchLimit(t *testing.T) {
	f := start(t)
	c := watchCall(f)
	key := []byte(strings.Repeat("k", 1<<20))
	refused := 0
	for i := range 80 { // the limit of a stream is 64 MiB of keys
		c.create(&etcdserverpb.WatchCreateRequest{Key: append(slices.Clone(key), byte(i))})
		if r := c.next(); r.Canceled {
			refused++
			if r.WatchId != -1 || !strings.HasPrefix(r.CancelReason, "etcdserver: too many watches on this stream") {
				t.Fatalf("refused by %v", r)
			}
		}
	}
	if refused != 80-63 {
		t.Errorf("%d watches were refused", refused)
	}
	w := f.Watch(f.ctx, "small")
	c.cancel(0)
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("small"), WatchId: 1000})
	for created := false; !created; {
		r := c.next()
		created = r.Created && !r.Canceled
	}
	for deadline := time.Now().Add(time.Minute); ; {
		f.put("small", "1")
		if events := f.hear(w, 1); events[0].Type == mvccpb.PUT {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other stream receives nothing")
		}
	}
}
