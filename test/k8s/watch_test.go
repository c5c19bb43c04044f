package k8s

import (
	"fmt"
	"testing"

	"k8s.io/apiserver/pkg/features"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// watches are Kubernetes' tests of watching a storage.
var watches = map[string]func(t *testing.T, f *fixture){
	"Watch":                func(t *testing.T, f *fixture) { storagetesting.RunTestWatch(f.ctx, t, f) },
	"ClusterScopedWatch":   func(t *testing.T, f *fixture) { storagetesting.RunTestClusterScopedWatch(f.ctx, t, f) },
	"NamespaceScopedWatch": func(t *testing.T, f *fixture) { storagetesting.RunTestNamespaceScopedWatch(f.ctx, t, f) },
	"DeleteTriggerWatch":   func(t *testing.T, f *fixture) { storagetesting.RunTestDeleteTriggerWatch(f.ctx, t, f) },
	"WatchFromZero":        func(t *testing.T, f *fixture) { storagetesting.RunTestWatchFromZero(f.ctx, t, f, f.compact) },
	"WatchFromNonZero":     func(t *testing.T, f *fixture) { storagetesting.RunTestWatchFromNonZero(f.ctx, t, f) },
	"DelayedWatchDelivery": func(t *testing.T, f *fixture) { storagetesting.RunTestDelayedWatchDelivery(f.ctx, t, f) },
	"WatchError":           func(t *testing.T, f *fixture) { storagetesting.RunTestWatchError(f.ctx, t, f) },
	"WatchContextCancel":   func(t *testing.T, f *fixture) { storagetesting.RunTestWatchContextCancel(f.ctx, t, f) },
	"WatcherTimeout":       func(t *testing.T, f *fixture) { storagetesting.RunTestWatcherTimeout(f.ctx, t, f) },
	"WatchDeleteEventObjectHaveLatestRV": func(t *testing.T, f *fixture) {
		storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV(f.ctx, t, f)
	},
	"WatchInitializationSignal": func(t *testing.T, f *fixture) {
		storagetesting.RunTestWatchInitializationSignal(f.ctx, t, f)
	},
	"SendInitialEventsBackwardCompatibility": func(t *testing.T, f *fixture) {
		storagetesting.RunSendInitialEventsBackwardCompatibility(f.ctx, t, f)
	},
	"WatchErrorIsBlockingFurtherEvents": func(t *testing.T, f *fixture) {
		storagetesting.RunWatchErrorIsBlockingFurtherEvents(f.ctx, t, f)
	},
}

func TestWatch(t *testing.T) {
	for name, run := range watches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, start(t))
		})
	}
}

// TestBookmarks needs a server that sends progress notifications every second: the watch of an
// unchanged object must receive the store's revision.
func TestBookmarks(t *testing.T) {
	t.Run("ProgressNotify", func(t *testing.T) {
		f := start(t, "--watch-progress-notify-interval=1s")
		storagetesting.RunOptionalTestProgressNotify(f.ctx, t, f, f.increase)
	})
	t.Run("WatchDispatchBookmarkEvents", func(t *testing.T) {
		f := start(t, "--watch-progress-notify-interval=1s")
		storagetesting.RunTestWatchDispatchBookmarkEvents(f.ctx, t, f, false)
	})
}

// TestWatchLists runs the tests of watches that begin with the objects that exist, read page by
// page and by RangeStream.
func TestWatchLists(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%t", stream), func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			t.Run("WatchSemantics", func(t *testing.T) {
				f := start(t)
				storagetesting.RunWatchSemantics(f.ctx, t, f)
			})
			t.Run("WatchSemanticInitialEventsExtended", func(t *testing.T) {
				f := start(t)
				storagetesting.RunWatchSemanticInitialEventsExtended(f.ctx, t, f)
			})
			t.Run("WatchListMatchSingle", func(t *testing.T) {
				f := start(t)
				storagetesting.RunWatchListMatchSingle(f.ctx, t, f)
			})
		})
	}
}
