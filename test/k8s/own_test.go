package k8s

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/utils/clock"
)

// patience is how long a test waits for an event, far above the usual time.
const patience = 30 * time.Second

func (f *fixture) create(t *testing.T, name string, ttl uint64) *example.Pod {
	t.Helper()
	out := &example.Pod{}
	if err := f.Create(f.ctx, "/pods/ns/"+name, &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}, out, ttl); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestContention lets many writers increment a counter in one object: every update must count once.
func TestContention(t *testing.T) {
	f := start(t)
	f.create(t, "shared", 0)
	const writers, updates = 8, 25
	done := make(chan error, writers)
	for range writers {
		go func() {
			for range updates {
				err := f.GuaranteedUpdate(f.ctx, "/pods/ns/shared", &example.Pod{}, false, nil,
					func(in runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
						pod := in.(*example.Pod)
						pod.Labels = map[string]string{"count": pod.Labels["count"] + "1"}
						return pod, nil, nil
					}, nil)
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	out := &example.Pod{}
	if err := f.Get(f.ctx, "/pods/ns/shared", storage.GetOptions{}, out); err != nil {
		t.Fatal(err)
	}
	if got := len(out.Labels["count"]); got != writers*updates {
		t.Errorf("%d updates are left of %d", got, writers*updates)
	}
}

// TestTTL lets an object expire with its lease, and expects its watch to receive the last state.
func TestTTL(t *testing.T) {
	f := start(t)
	kept := f.create(t, "kept", 0)
	w, err := f.Watch(f.ctx, "/pods/ns/", storage.ListOptions{ResourceVersion: kept.ResourceVersion, Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	brief := f.create(t, "brief", 1)
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		select {
		case e := <-w.ResultChan():
			pod, ok := e.Object.(*example.Pod)
			if !ok || e.Type != want || pod.Name != "brief" {
				t.Fatalf("received %s %v, want %s of brief", e.Type, e.Object, want)
			}
			if later := pod.ResourceVersion != brief.ResourceVersion; later != (want == watch.Deleted) {
				t.Errorf("%s has the resource version %s", e.Type, pod.ResourceVersion)
			}
		case <-time.After(patience):
			t.Fatalf("no event that brief was %s", want)
		}
	}
	if err := f.Get(f.ctx, "/pods/ns/brief", storage.GetOptions{}, &example.Pod{}); !storage.IsNotFound(err) {
		t.Errorf("brief: %v, want not found", err)
	}
}

// TestPages lists more objects than one page holds at one revision, while they change, and after a
// compaction must list again.
func TestPages(t *testing.T) {
	f := start(t)
	const n = 250
	for i := range n {
		f.create(t, fmt.Sprintf("p%03d", i), 0)
	}
	everything := storage.SelectionPredicate{Label: storage.Everything.Label, Field: storage.Everything.Field, Limit: 100}
	page := func() (*example.PodList, error) {
		list := &example.PodList{}
		err := f.GetList(f.ctx, "/pods/ns/", storage.ListOptions{Recursive: true, Predicate: everything}, list)
		return list, err
	}
	seen := 0
	for left := n; ; {
		list, err := page()
		if err != nil {
			t.Fatal(err)
		}
		seen, left = seen+len(list.Items), left-len(list.Items)
		if list.RemainingItemCount != nil && *list.RemainingItemCount != int64(left) {
			t.Errorf("%d remaining, want %d", *list.RemainingItemCount, left)
		}
		if everything.Continue = list.Continue; list.Continue == "" {
			break
		}
		// Objects that are deleted and created between pages are not in the listed revision.
		if err := f.Delete(f.ctx, fmt.Sprintf("/pods/ns/p%03d", n-left), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.create(t, fmt.Sprintf("q%03d", left), 0)
	}
	if seen != n {
		t.Errorf("the pages had %d objects, want %d", seen, n)
	}

	list, err := page()
	if err != nil || list.Continue == "" {
		t.Fatalf("first page again: %v, continue %q", err, list.Continue)
	}
	everything.Continue = list.Continue
	f.compact(f.ctx, t, f.create(t, "last", 0).ResourceVersion)
	_, err = page()
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("a page of a compacted list: %v, want that it has expired", err)
	}
}

// TestPreconditions deletes an object only if it is unchanged.
func TestPreconditions(t *testing.T) {
	f := start(t)
	pod := f.create(t, "p", 0)
	wrong, right := "1", pod.ResourceVersion
	err := f.Delete(f.ctx, "/pods/ns/p", &example.Pod{}, &storage.Preconditions{ResourceVersion: &wrong}, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if !storage.IsInvalidObj(err) {
		t.Errorf("delete of another version: %v", err)
	}
	out := &example.Pod{}
	err = f.Delete(f.ctx, "/pods/ns/p", out, &storage.Preconditions{ResourceVersion: &right}, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err != nil || out.ResourceVersion == right {
		t.Errorf("delete of the version that there is: %v, at %s", err, out.ResourceVersion)
	}
}

// TestCompactionLoop runs the loop by which kube-apiserver compacts its etcd, of two servers at
// once, and expects old history to be compacted.
func TestCompactionLoop(t *testing.T) {
	f := start(t)
	first := f.create(t, "first", 0)
	for range 2 {
		loop := etcd3.NewCompactor(f.client.Client, 100*time.Millisecond, clock.RealClock{}, nil)
		t.Cleanup(loop.Stop)
	}
	at, err := storage.APIObjectVersioner{}.ParseResourceVersion(first.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); f.compacted() <= int64(at); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("compacted to %d within %v, want beyond %d", f.compacted(), patience, at)
		}
		f.increase(f.ctx, t)
	}
	w, err := f.Watch(f.ctx, "/pods/ns/", storage.ListOptions{ResourceVersion: "1", Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case e := <-w.ResultChan():
		if err := apierrors.FromObject(e.Object); e.Type != watch.Error || !apierrors.IsResourceExpired(err) {
			t.Errorf("a watch of a compacted revision received %s: %v", e.Type, e.Object)
		}
	case <-time.After(patience):
		t.Fatal("a watch of a compacted revision received nothing")
	}
}
