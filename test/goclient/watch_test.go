package goclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// hear collects n events of a watch as "PUT key=value" lines.
func (f *fixture) hear(w clientv3.WatchChan, n int) (events []*clientv3.Event) {
	f.t.Helper()
	timeout := time.After(time.Minute)
	for len(events) < n {
		select {
		case r, ok := <-w:
			if !ok || r.Err() != nil {
				f.t.Fatalf("the watch ended after %d of %d events: %v", len(events), n, r.Err())
			}
			events = append(events, r.Events...)
		case <-timeout:
			f.t.Fatalf("only %d of %d events arrived", len(events), n)
		}
	}
	if len(events) > n {
		f.t.Fatalf("%d events arrived, want %d", len(events), n)
	}
	return events
}

func lines(events []*clientv3.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s %s=%s\n", e.Type, e.Kv.Key, e.Kv.Value)
	}
	return b.String()
}

// TestWatchFromThePast receives history and later events without gap or repetition.
func TestWatchFromThePast(t *testing.T) {
	f := start(t)
	revs := f.put("w/a", "1", "w/b", "2", "x", "3")
	w := f.Watch(f.ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(revs[0]), clientv3.WithPrevKV())
	f.hear(w, 2)
	f.put("w/a", "4")
	f.delete("w/b")
	events := f.hear(w, 2)
	if got, want := lines(events), "PUT w/a=4\nDELETE w/b=\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	if p := events[0].PrevKv; p == nil || string(p.Value) != "1" || p.ModRevision != revs[0] || events[0].IsCreate() {
		t.Errorf("the put replaced %v", p)
	}
	if p := events[1].PrevKv; p == nil || string(p.Value) != "2" {
		t.Errorf("the delete removed %v", p)
	}
	// A transaction's events are in one response.
	if _, err := f.Txn(f.ctx).Then(clientv3.OpPut("w/1", ""), clientv3.OpPut("w/2", ""), clientv3.OpDelete("w/a")).Commit(); err != nil {
		t.Fatal(err)
	}
	if r := <-w; len(r.Events) != 3 {
		t.Errorf("the transaction arrived as %d events", len(r.Events))
	}
}

// TestWatchCompacted: a watch of compacted revisions ends, and a new one begins at the oldest
// revision.
func TestWatchCompacted(t *testing.T) {
	f := start(t)
	revs := f.put("k", "1", "k", "2", "k", "3")
	if _, err := f.Compact(f.ctx, revs[1]); err != nil {
		t.Fatal(err)
	}
	r := <-f.Watch(f.ctx, "k", clientv3.WithRev(revs[0]))
	if r.CompactRevision != revs[1] || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("compacted at %d: %v, want %d", r.CompactRevision, r.Err(), revs[1])
	}
	events := f.hear(f.Watch(f.ctx, "k", clientv3.WithRev(revs[1]), clientv3.WithPrevKV()), 2)
	if got := lines(events); got != "PUT k=2\nPUT k=3\n" {
		t.Errorf("from the oldest revision on: %s", got)
	}
	if p := events[0].PrevKv; p != nil {
		t.Errorf("before the oldest revision there was %v", p)
	}
	if p := events[1].PrevKv; p == nil || string(p.Value) != "2" {
		t.Errorf("the last put replaced %v", p)
	}
}

// TestWatchProgress requests a progress notification.
func TestWatchProgress(t *testing.T) {
	f := start(t)
	w := f.Watch(f.ctx, "k", clientv3.WithCreatedNotify())
	if r := <-w; !r.Created {
		t.Fatalf("first response: %+v", r)
	}
	last := f.put("other", "1", "other", "2")[1]
	if err := f.RequestProgress(f.ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-w:
		if !r.IsProgressNotify() || r.Header.Revision < last {
			t.Errorf("progress at %d with %d events, want %d", r.Header.Revision, len(r.Events), last)
		}
	case <-time.After(time.Minute):
		t.Fatal("no progress")
	}
}

// TestWatchFragments: one large revision is divided for a watch that accepts fragments, and sent as
// a whole for one that does not.
func TestWatchFragments(t *testing.T) {
	f := start(t)
	c := watchCall(f)
	value := strings.Repeat("v", 100_000)
	var ops []clientv3.Op
	for i := range 12 {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("f/%02d", i), value))
	}
	rev := int64(0)
	for range 2 { // the second has the first as its prev_kv: twice as large
		resp, err := f.Txn(f.ctx).Then(ops...).Commit()
		if err != nil {
			t.Fatal(err)
		}
		rev = resp.Header.Revision
	}
	fragmented := f.Watch(f.ctx, "f/", clientv3.WithPrefix(), clientv3.WithRev(rev), clientv3.WithFragment(), clientv3.WithPrevKV())
	if r := <-fragmented; len(r.Events) != 12 || r.Events[11].PrevKv == nil {
		t.Errorf("the client put %d events together: %v", len(r.Events), r.Err())
	}
	for _, fragment := range []bool{true, false} {
		events, answers := 0, 0
		c.create(fragmentRequest(rev, fragment))
		<-c.answers // created
		for more := true; more; answers++ {
			r := <-c.answers
			events, more = events+len(r.Events), r.Fragment
		}
		if events != 12 || fragment != (answers > 1) {
			t.Errorf("fragment %v: %d events in %d responses", fragment, events, answers)
		}
	}
}

// TestWatchDialects shows which events each dialect's watches receive for the other's writes.
func TestWatchDialects(t *testing.T) {
	f := start(t)
	if harness.Reference(t) != "" {
		t.Skip("etcd's dialects do not share keys")
	}
	w := f.Watch(f.ctx, "/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	<-w
	for _, step := range [][3]string{
		{"PUT", "/v2/keys/d?dir=true", ""}, // v3 has no directories
		{"PUT", "/v2/keys/d/a", "value=1"},
		{"DELETE", "/v2/keys/d/a", ""},
		{"PUT", "/v2/keys/d/b", "value=2&ttl=1"},
	} {
		if status, body, _ := f.server.HTTP(step[0], step[1], step[2]); status >= 300 {
			t.Fatalf("%v: %d %s", step, status, body)
		}
	}
	// The last is the expiry.
	if got, want := lines(f.hear(w, 4)), "PUT /d/a=1\nDELETE /d/a=\nPUT /d/b=2\nDELETE /d/b=\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	rev := f.put("/d/c", "3", "no/path", "", "/d//odd", "")[0]
	f.delete("/d/c")
	for i, want := range []string{
		fmt.Sprintf(`{"action":"set","node":{"key":"/d/c","value":"3","modifiedIndex":%d,"createdIndex":%[1]d}}`, rev),
		fmt.Sprintf(`{"action":"delete","node":{"key":"/d/c","modifiedIndex":%d,"createdIndex":%d},`+
			`"prevNode":{"key":"/d/c","value":"3","modifiedIndex":%[2]d,"createdIndex":%[2]d}}`, rev+3, rev),
	} {
		_, body, _ := f.server.HTTP("GET", fmt.Sprintf("/v2/keys/?wait=true&recursive=true&waitIndex=%d", rev+int64(i)), "")
		if body != want+"\n" {
			t.Errorf("v2 received %swant %s", body, want)
		}
	}
	if _, err := f.Compact(f.ctx, rev+3); err != nil {
		t.Fatal(err)
	}
	status, body, _ := f.server.HTTP("GET", fmt.Sprintf("/v2/keys/d?wait=true&waitIndex=%d", rev), "")
	want := fmt.Sprintf(`{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [%d/%d]","index":%d}`+"\n", rev+3, rev, rev+3)
	if status != 400 || body != want {
		t.Errorf("compacted: %d %swant %s", status, body, want)
	}
}

// TestManyWatches keeps 2,000 watches of one key and 2,000 of different keys on one stream.
func TestManyWatches(t *testing.T) {
	f := start(t)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	const n = 2000
	var all []clientv3.WatchChan
	for i := range n {
		all = append(all, f.Watch(ctx, "one"), f.Watch(ctx, fmt.Sprintf("k%04d", i)))
	}
	rev := f.put("one", "1")[0]
	for i := 0; i < len(all); i += 2 {
		if e := f.hear(all[i], 1)[0]; e.Kv.ModRevision != rev {
			t.Fatalf("watch %d received revision %d, want %d", i, e.Kv.ModRevision, rev)
		}
	}
	for i := range n {
		key := fmt.Sprintf("k%04d", i)
		f.put(key, key)
		if e := f.hear(all[2*i+1], 1)[0]; string(e.Kv.Value) != key {
			t.Fatalf("the watch of %s received an event of %s", key, e.Kv.Key)
		}
	}
}
