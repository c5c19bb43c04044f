package k8s

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// TestStreamedLists reads lists by RangeStream whose objects fill the server's chunks of 256 KiB
// exactly, exceed them by far, or share a chunk, with every kind of limit. Kubernetes stops reading
// a stream once it has its objects, and needs the revision by then.
func TestStreamedLists(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, true)
	f := start(t)
	const chunk = 256 << 10
	for _, c := range []struct {
		name           string
		objects, bytes int
		limits         []int64
	}{
		{"events of 1 kB", 510, 1000, []int64{0, 1, 250, 500, 509, 510, 511}},
		{"just below a chunk", 4, chunk - 1000, []int64{0, 1, 2, 3, 4, 5}},
		{"about a chunk", 4, chunk, []int64{0, 1, 2, 3, 4, 5}},
		{"more than a chunk", 4, chunk + 100_000, []int64{0, 1, 2, 3, 4, 5}},
		{"several chunks", 3, 1_000_000, []int64{0, 1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace := strings.ReplaceAll(c.name, " ", "-")
			pod := &example.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Annotations: map[string]string{"filling": strings.Repeat("x", c.bytes)},
			}}
			last := ""
			for i := range c.objects {
				pod.Name = fmt.Sprintf("p%03d", i)
				out := &example.Pod{}
				if err := f.Create(f.ctx, "/pods/"+namespace+"/"+pod.Name, pod, out, 0); err != nil {
					t.Fatal(err)
				}
				last = out.ResourceVersion
			}
			f.client.KV.(*storagetesting.KVRecorder).GetStreamReadsAndReset()
			for _, limit := range c.limits {
				f.checkPages(t, namespace, limit, c.objects, last)
			}
			if f.client.KV.(*storagetesting.KVRecorder).GetStreamReadsAndReset() == 0 {
				t.Error("no list was read by RangeStream, which tests nothing")
			}
		})
	}
}

// checkPages lists a namespace page by page and expects all of its objects, and the resource
// version of the last one made.
func (f *fixture) checkPages(t *testing.T, namespace string, limit int64, objects int, resourceVersion string) {
	t.Helper()
	everything := storage.SelectionPredicate{Label: storage.Everything.Label, Field: storage.Everything.Field, Limit: limit}
	seen := 0
	for {
		list := &example.PodList{}
		if err := f.GetList(f.ctx, "/pods/"+namespace+"/", storage.ListOptions{Recursive: true, Predicate: everything}, list); err != nil {
			t.Fatalf("limit %d after %d objects: %v", limit, seen, err)
		}
		if list.ResourceVersion != resourceVersion {
			t.Errorf("limit %d after %d objects: resource version %s, want %s", limit, seen, list.ResourceVersion, resourceVersion)
		}
		for i := range list.Items {
			if want := fmt.Sprintf("p%03d", seen); list.Items[i].Name != want {
				t.Fatalf("limit %d: object %d is %s, want %s", limit, seen, list.Items[i].Name, want)
			}
			seen++
		}
		if everything.Continue = list.Continue; list.Continue == "" {
			break
		}
	}
	if seen != objects {
		t.Errorf("limit %d: %d objects, want %d", limit, seen, objects)
	}
}
