package k8s

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// bare checks that the value stored under a key is an object without the fields that Kubernetes
// adds when it reads.
func (f *fixture) bare(ctx context.Context, t *testing.T, key string) {
	resp, err := f.client.KV.Get(ctx, key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("get %s: %v, %v", key, resp, err)
	}
	object, err := runtime.Decode(f.codec, resp.Kvs[0].Value[len(prefix):])
	if err != nil {
		t.Fatalf("%q: %v", resp.Kvs[0].Value, err)
	}
	if pod := object.(*example.Pod); pod.ResourceVersion != "" || pod.SelfLink != "" {
		t.Errorf("%s is stored with %+v", key, pod.ObjectMeta)
	}
}

// uncounted accepts any number of calls: the number of a page's calls is up to the storage.
func uncounted(*testing.T, uint64, uint64) {}

// suite are Kubernetes' tests of a storage, except watches.
var suite = map[string]func(t *testing.T, f *fixture){
	"Create":                  func(t *testing.T, f *fixture) { storagetesting.RunTestCreate(f.ctx, t, f, f.bare) },
	"CreateWithTTL":           func(t *testing.T, f *fixture) { storagetesting.RunTestCreateWithTTL(f.ctx, t, f) },
	"CreateWithKeyExist":      func(t *testing.T, f *fixture) { storagetesting.RunTestCreateWithKeyExist(f.ctx, t, f) },
	"Get":                     func(t *testing.T, f *fixture) { storagetesting.RunTestGet(f.ctx, t, f) },
	"UnconditionalDelete":     func(t *testing.T, f *fixture) { storagetesting.RunTestUnconditionalDelete(f.ctx, t, f) },
	"ConditionalDelete":       func(t *testing.T, f *fixture) { storagetesting.RunTestConditionalDelete(f.ctx, t, f) },
	"DeleteWithSuggestion":    func(t *testing.T, f *fixture) { storagetesting.RunTestDeleteWithSuggestion(f.ctx, t, f) },
	"DeleteWithConflict":      func(t *testing.T, f *fixture) { storagetesting.RunTestDeleteWithConflict(f.ctx, t, f) },
	"ListPaging":              func(t *testing.T, f *fixture) { storagetesting.RunTestListPaging(f.ctx, t, f) },
	"GetListRecursivePrefix":  func(t *testing.T, f *fixture) { storagetesting.RunTestGetListRecursivePrefix(f.ctx, t, f) },
	"KeySchema":               func(t *testing.T, f *fixture) { storagetesting.RunTestKeySchema(f.ctx, t, f) },
	"NamespaceScopedList":     func(t *testing.T, f *fixture) { storagetesting.RunTestNamespaceScopedList(f.ctx, t, f) },
	"GuaranteedUpdate":        func(t *testing.T, f *fixture) { storagetesting.RunTestGuaranteedUpdate(f.ctx, t, f, f.bare) },
	"GuaranteedUpdateWithTTL": func(t *testing.T, f *fixture) { storagetesting.RunTestGuaranteedUpdateWithTTL(f.ctx, t, f) },
	"TransformationFailure":   func(t *testing.T, f *fixture) { storagetesting.RunTestTransformationFailure(f.ctx, t, f) },
	"ListResourceVersionMatch": func(t *testing.T, f *fixture) {
		storagetesting.RunTestListResourceVersionMatch(f.ctx, t, f)
	},
	"ListContinuation": func(t *testing.T, f *fixture) { storagetesting.RunTestListContinuation(f.ctx, t, f, uncounted) },
	"ListContinuationWithFilter": func(t *testing.T, f *fixture) {
		storagetesting.RunTestListContinuationWithFilter(f.ctx, t, f, uncounted)
	},
	"ListPaginationRareObject": func(t *testing.T, f *fixture) {
		storagetesting.RunTestListPaginationRareObject(f.ctx, t, f, uncounted)
	},
	"ListInconsistentContinuation": func(t *testing.T, f *fixture) {
		storagetesting.RunTestListInconsistentContinuation(f.ctx, t, f, f.compact)
	},
	"GetListNonRecursive": func(t *testing.T, f *fixture) {
		storagetesting.RunTestGetListNonRecursive(f.ctx, t, f.increase, f)
	},
	"DeleteWithSuggestionAndConflict": func(t *testing.T, f *fixture) {
		storagetesting.RunTestDeleteWithSuggestionAndConflict(f.ctx, t, f)
	},
	"DeleteWithSuggestionOfDeletedObject": func(t *testing.T, f *fixture) {
		storagetesting.RunTestDeleteWithSuggestionOfDeletedObject(f.ctx, t, f)
	},
	"ValidateDeletionWithSuggestion": func(t *testing.T, f *fixture) {
		storagetesting.RunTestValidateDeletionWithSuggestion(f.ctx, t, f)
	},
	"ValidateDeletionWithOnlySuggestionValid": func(t *testing.T, f *fixture) {
		storagetesting.RunTestValidateDeletionWithOnlySuggestionValid(f.ctx, t, f)
	},
	"PreconditionalDeleteWithSuggestion": func(t *testing.T, f *fixture) {
		storagetesting.RunTestPreconditionalDeleteWithSuggestion(f.ctx, t, f)
	},
	"PreconditionalDeleteWithOnlySuggestionPass": func(t *testing.T, f *fixture) {
		storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass(f.ctx, t, f)
	},
	"GuaranteedUpdateChecksStoredData": func(t *testing.T, f *fixture) {
		storagetesting.RunTestGuaranteedUpdateChecksStoredData(f.ctx, t, f)
	},
	"GuaranteedUpdateWithConflict": func(t *testing.T, f *fixture) {
		storagetesting.RunTestGuaranteedUpdateWithConflict(f.ctx, t, f)
	},
	"GuaranteedUpdateWithSuggestionAndConflict": func(t *testing.T, f *fixture) {
		storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict(f.ctx, t, f)
	},
	"CompactRevision": func(t *testing.T, f *fixture) {
		storagetesting.RunTestCompactRevision(f.ctx, t, f, f.increase, f.compact)
	},
	"Stats": func(t *testing.T, f *fixture) {
		storagetesting.RunTestStats(f.ctx, t, f, f.codec, f.transformer, false)
	},
}

func TestStore(t *testing.T) {
	for name, run := range suite {
		t.Run(name, func(t *testing.T) {
			beside(t, name)
			run(t, start(t))
		})
	}
}

// TestLists runs the tests of lists in both ways in which Kubernetes reads them: page by page, and
// by RangeStream, which it uses where a server has it.
func TestLists(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%t", stream), func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			t.Run("List", func(t *testing.T) {
				f := start(t)
				storagetesting.RunTestList(f.ctx, t, f, f.compact, false, f.recorder())
				if used := f.client.KV.(*storagetesting.KVRecorder).GetStreamReadsAndReset(); (used > 0) != stream {
					t.Errorf("%d lists were read by RangeStream, but the gate is %t", used, stream)
				}
			})
			t.Run("ConsistentList", func(t *testing.T) {
				f := start(t)
				storagetesting.RunTestConsistentList(f.ctx, t, f, f.increase, false, true, false)
			})
		})
	}
}

// All of these tests are about storage.Interface, so the fixture must implement it.
var (
	_ storage.Interface                             = (*fixture)(nil)
	_ storagetesting.InterfaceWithPrefixTransformer = (*fixture)(nil)
)
