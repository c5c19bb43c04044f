package goclientv2

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v2"
)

func TestKeys(t *testing.T) {
	f := start(t)
	first := f.must(f.Set(f.ctx, "/app/mode", "blue", nil))
	if first.Action != "set" || first.Node.Key != "/app/mode" || first.Node.Value != "blue" || first.PrevNode != nil ||
		first.Node.CreatedIndex != first.Node.ModifiedIndex || first.Index != first.Node.ModifiedIndex || first.ClusterID == "" {
		t.Errorf("set: %+v", first)
	}
	second := f.must(f.Set(f.ctx, "/app/mode", "green", &client.SetOptions{PrevValue: "blue"}))
	if second.Action != "compareAndSwap" || second.PrevNode.Value != "blue" || second.Node.ModifiedIndex != first.Node.ModifiedIndex+1 {
		t.Errorf("compare and swap: %+v", second)
	}
	_, err := f.Set(f.ctx, "/app/mode", "red", &client.SetOptions{PrevIndex: first.Node.ModifiedIndex})
	f.wantCode(err, client.ErrorCodeTestFailed)
	_, err = f.Create(f.ctx, "/app/mode", "red")
	f.wantCode(err, client.ErrorCodeNodeExist)
	_, err = f.Update(f.ctx, "/app/absent", "red")
	f.wantCode(err, client.ErrorCodeKeyNotFound)
	if r := f.must(f.Update(f.ctx, "/app/mode", "red")); r.Action != "update" || r.Node.CreatedIndex != second.Node.CreatedIndex {
		t.Errorf("update: %+v", r)
	}
	if r := f.must(f.Set(f.ctx, "/app/mode", "quiet", &client.SetOptions{NoValueOnSuccess: true})); r.Node != nil {
		t.Errorf("set with NoValueOnSuccess: %+v", r)
	}
	if r := f.must(f.Get(f.ctx, "/app/mode", &client.GetOptions{Quorum: true})); r.Node.Value != "quiet" {
		t.Errorf("get: %+v", r)
	}
	_, err = f.Delete(f.ctx, "/app/mode", &client.DeleteOptions{PrevValue: "loud"})
	f.wantCode(err, client.ErrorCodeTestFailed)
	if r := f.must(f.Delete(f.ctx, "/app/mode", nil)); r.Action != "delete" || r.PrevNode.Value != "quiet" {
		t.Errorf("delete: %+v", r)
	}
	_, err = f.Get(f.ctx, "/app/mode", nil)
	f.wantCode(err, client.ErrorCodeKeyNotFound)
}

func TestDirectories(t *testing.T) {
	f := start(t)
	f.must(f.Set(f.ctx, "/d", "", &client.SetOptions{Dir: true, PrevExist: client.PrevNoExist}))
	_, err := f.Set(f.ctx, "/d", "x", nil)
	f.wantCode(err, client.ErrorCodeNotFile)
	for _, name := range []string{"b", "a", "sub/y", "_hidden"} {
		f.must(f.Set(f.ctx, "/d/"+name, name, nil))
	}
	_, err = f.Set(f.ctx, "/d/a/below", "x", nil)
	f.wantCode(err, client.ErrorCodeNotDir)
	var keys []string
	for _, n := range f.must(f.Get(f.ctx, "/d", &client.GetOptions{Recursive: true, Sort: true})).Node.Nodes {
		keys = append(keys, n.Key)
	}
	if want := []string{"/d/a", "/d/b", "/d/sub"}; !slices.Equal(keys, want) {
		t.Errorf("listed %q, want %q", keys, want)
	}
	var queue []string
	for i := range 3 {
		r := f.must(f.CreateInOrder(f.ctx, "/queue", fmt.Sprint("job", i), nil))
		queue = append(queue, r.Node.Key)
	}
	if !slices.IsSorted(queue) || queue[0] == queue[1] {
		t.Errorf("keys in order: %q", queue)
	}
	_, err = f.Delete(f.ctx, "/d", &client.DeleteOptions{Dir: true})
	f.wantCode(err, client.ErrorCodeDirNotEmpty)
	f.must(f.Delete(f.ctx, "/d", &client.DeleteOptions{Dir: true, Recursive: true}))
	_, err = f.Delete(f.ctx, "/", &client.DeleteOptions{Dir: true, Recursive: true})
	f.wantCode(err, client.ErrorCodeRootROnly)
}

func TestTTL(t *testing.T) {
	f := start(t)
	r := f.must(f.Set(f.ctx, "/k", "v", &client.SetOptions{TTL: 100 * time.Second}))
	if r.Node.TTL < 50 || r.Node.TTL > 100 || r.Node.Expiration == nil || r.Node.TTLDuration() != time.Duration(r.Node.TTL)*time.Second {
		t.Errorf("TTL %d, expiration %v", r.Node.TTL, r.Node.Expiration)
	}
	watcher := f.Watcher("/k", &client.WatcherOptions{AfterIndex: r.Index})
	r = f.must(f.Set(f.ctx, "/k", "", &client.SetOptions{TTL: time.Second, Refresh: true, PrevExist: client.PrevExist}))
	if r.Node.Value != "v" || r.Node.TTL != 1 {
		t.Errorf("refreshed: %+v", r.Node)
	}
	// Watchers do not receive the refresh; they receive the expiry.
	if r = f.must(watcher.Next(f.ctx)); r.Action != "expire" || r.PrevNode.Value != "v" {
		t.Errorf("watcher of a refreshed key: %+v", r)
	}
}

func TestWatchers(t *testing.T) {
	f := start(t)
	start := f.must(f.Set(f.ctx, "/w/before", "0", nil)).Index
	live := f.Watcher("/w", &client.WatcherOptions{Recursive: true})
	received := make(chan *client.Response, 3)
	failed := make(chan error, 1)
	// The watcher sends its request when Next is called, so events before its first response may be
	// missed: the test sets the key until the watcher has received an event.
	go func() {
		for range 3 {
			r, err := live.Next(f.ctx)
			if err != nil {
				failed <- err
				return
			}
			received <- r
		}
	}()
	var heard []*client.Response
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for n := 0; len(heard) < 3; {
		select {
		case r := <-received:
			heard = append(heard, r)
		case err := <-failed:
			t.Fatal(err)
		case <-again.C:
			f.must(f.Set(f.ctx, fmt.Sprint("/w/k", n), "x", nil))
			n++
		}
	}
	for i, r := range heard {
		if r.Action != "set" || i > 0 && r.Node.ModifiedIndex != heard[i-1].Node.ModifiedIndex+1 {
			t.Errorf("event %d: %+v", i, r.Node)
		}
	}
	// From the past: each change once, in order, up to now.
	past := f.Watcher("/w", &client.WatcherOptions{Recursive: true, AfterIndex: start - 1})
	for i := range uint64(4) {
		if r := f.must(past.Next(f.ctx)); r.Node.ModifiedIndex != start+i {
			t.Errorf("event %d of the past has index %d, want %d", i, r.Node.ModifiedIndex, start+i)
		}
	}
}
