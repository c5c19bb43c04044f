package k8s

import (
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// attributes are the fields by which pods can be selected.
func attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	pod := object.(*example.Pod)
	return pod.Labels, fields.Set{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "spec.nodeName": pod.Spec.NodeName,
	}, nil
}

// cached puts Kubernetes' watch cache before the storage of a fixture. It lists and watches the
// server, and serves most reads itself, after requesting the server's revision.
func cached(t *testing.T, f *fixture) *cacher.CacheDelegator {
	t.Helper()
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: f.Interface, Versioner: storage.APIObjectVersioner{}, GroupResource: pods,
		EventsHistoryWindow: cacher.DefaultEventFreshDuration, ResourcePrefix: "/pods/",
		KeyFunc:      func(object runtime.Object) (string, error) { return storage.NamespaceKeyFunc("/pods/", object) },
		GetAttrsFunc: attributes, NewFunc: newPod, NewListFunc: newPodList, Codec: f.codec, Clock: clock.RealClock{},
		IndexerFuncs: map[string]storage.IndexerFunc{
			"spec.nodeName": func(object runtime.Object) string { return object.(*example.Pod).Spec.NodeName },
		},
		Indexers: &cache.Indexers{
			"f:spec.nodeName": func(object any) ([]string, error) { return []string{object.(*example.Pod).Spec.NodeName}, nil },
			"f:metadata.namespace": func(object any) ([]string, error) {
				return []string{object.(*example.Pod).Namespace}, nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Wait(f.ctx); err != nil {
		t.Fatal(err)
	}
	d := cacher.NewCacheDelegator(c, f.Interface)
	t.Cleanup(d.Stop)
	return d
}

// behindCache are Kubernetes' tests of a storage with its watch cache in front.
var behindCache = map[string]func(t *testing.T, f *fixture, c *cacher.CacheDelegator){
	"Get": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) { storagetesting.RunTestGet(f.ctx, t, c) },
	"CreateWithTTL": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestCreateWithTTL(f.ctx, t, c)
	},
	"ConditionalDelete": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestConditionalDelete(f.ctx, t, c)
	},
	"ConsistentList": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestConsistentList(f.ctx, t, c, f.increase, true, true, true)
	},
	"GetListNonRecursive": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestGetListNonRecursive(f.ctx, t, f.increase, c)
	},
	"NamespaceScopedList": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestNamespaceScopedList(f.ctx, t, c)
	},
	"ListPaging": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestListPaging(f.ctx, t, c)
	},
	"ListContinuation": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestListContinuation(f.ctx, t, c, uncounted)
	},
	"GuaranteedUpdateWithConflict": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestGuaranteedUpdateWithConflict(f.ctx, t, c)
	},
	"GuaranteedUpdateWithSuggestionAndConflict": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict(f.ctx, t, c)
	},
	"Watch": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) { storagetesting.RunTestWatch(f.ctx, t, c) },
	"DeleteTriggerWatch": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestDeleteTriggerWatch(f.ctx, t, c)
	},
	"DelayedWatchDelivery": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestDelayedWatchDelivery(f.ctx, t, c)
	},
	"NamespaceScopedWatch": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestNamespaceScopedWatch(f.ctx, t, c)
	},
	"WatchDispatchBookmarkEvents": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestWatchDispatchBookmarkEvents(f.ctx, t, c, true)
	},
	"WatchBookmarksWithCorrectResourceVersion": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion(f.ctx, t, c)
	},
	"WatchListMatchSingle": func(t *testing.T, f *fixture, c *cacher.CacheDelegator) {
		storagetesting.RunWatchListMatchSingle(f.ctx, t, c)
	},
}

func TestWatchCache(t *testing.T) {
	for name, run := range behindCache {
		t.Run(name, func(t *testing.T) {
			beside(t, name)
			f := start(t)
			run(t, f, cached(t, f))
		})
	}
}
