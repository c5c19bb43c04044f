// Package k8s drives a real server with Kubernetes' own storage layer,
// k8s.io/apiserver/pkg/storage: the code between kube-apiserver and its etcd, and the watch cache
// in front of it.
//
// It owns the selection of Kubernetes' tests of a storage.Interface, and additional tests of what
// those leave out: contention, objects that expire, compaction by Kubernetes' own loop. The tests
// that Kubernetes exports in k8s.io/apiserver/pkg/storage/testing define what its storage must do;
// nothing of them is copied here.
//
// It is a separate module, so that cairn does not depend on Kubernetes. `make test` runs it after
// the others.
//
// Concurrency: each test has its own server, and those of a table run in parallel. The tables run
// one after the other, since Kubernetes' feature gates, which some of them change, are global.
package k8s

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"google.golang.org/grpc/grpclog"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"cairn/test/harness"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
	pods   = schema.GroupResource{Resource: "pods"}
)

func TestMain(m *testing.M) {
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(scheme))
	utilruntime.Must(examplev1.AddToScheme(scheme))
	klog.SetLogger(logr.Discard()) // the tests provoke errors that it would log
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	harness.Main(m)
}

func newPod() runtime.Object     { return &example.Pod{} }
func newPodList() runtime.Object { return &example.PodList{} }

// fixture is a running server with Kubernetes' storage of pods on it.
type fixture struct {
	storage.Interface
	ctx         context.Context
	client      *kubernetes.Client
	server      *harness.Server
	codec       runtime.Codec
	transformer *exchangeable
	compacted   func() int64 // the compact revision that Kubernetes has noticed
}

// prefix is the bytes that the transformer adds before each stored value, and removes.
const prefix = "test!"

func start(t *testing.T, flags ...string) *fixture {
	t.Helper()
	server := harness.Start(t, flags...)
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{server.URL()}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	recorder := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV, client.Kubernetes = storagetesting.NewKVRecorder(client.KV, recorder), recorder
	f := &fixture{
		ctx: context.Background(), client: client, server: server,
		codec:       apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion),
		transformer: newExchangeable(storagetesting.NewPrefixTransformer([]byte(prefix), false)),
	}
	compactor := etcd3.NewCompactor(client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	leases := etcd3.NewDefaultLeaseManagerConfig()
	leases.ReuseDurationSeconds = 1 // a test does not wait for the usual minute
	store, err := etcd3.New(client, compactor, f.codec, newPod, newPodList, "", "/pods/", pods, f.transformer, leases,
		etcd3.NewDefaultDecoder(f.codec, storage.APIObjectVersioner{}), storage.APIObjectVersioner{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	f.Interface, f.compacted = store, store.CompactRevision
	return f
}

// beside makes a test of a table run in parallel with the others, except for Get: its object
// expires after two seconds, which would pass while its parts wait to run.
func beside(t *testing.T, name string) {
	if name != "Get" {
		t.Parallel()
	}
}

// exchangeable is a transformer that can be replaced in a running store, as some of Kubernetes'
// tests require.
type exchangeable struct {
	now atomic.Pointer[value.Transformer]
}

func newExchangeable(first value.Transformer) *exchangeable {
	e := &exchangeable{}
	e.now.Store(&first)
	return e
}

func (e *exchangeable) TransformFromStorage(ctx context.Context, data []byte, about value.Context) ([]byte, bool, error) {
	return (*e.now.Load()).TransformFromStorage(ctx, data, about)
}

func (e *exchangeable) TransformToStorage(ctx context.Context, data []byte, about value.Context) ([]byte, error) {
	return (*e.now.Load()).TransformToStorage(ctx, data, about)
}

// UpdatePrefixTransformer implements storagetesting.InterfaceWithPrefixTransformer.
func (f *fixture) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	before := f.transformer.now.Load()
	changed := *(*before).(*storagetesting.PrefixTransformer)
	after := modify(&changed)
	f.transformer.now.Store(&after)
	return func() { f.transformer.now.Store(before) }
}

// recorder counts the lists that the storage requests from the server.
func (f *fixture) recorder() *storagetesting.KubernetesRecorder {
	return f.client.Kubernetes.(*storagetesting.KubernetesRecorder)
}

// increase increments the store's revision and returns it.
func (f *fixture) increase(ctx context.Context, t *testing.T) int64 {
	resp, err := f.client.KV.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// compact compacts to a resource version as Kubernetes' loop does, and waits until the storage has
// noticed.
func (f *fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	at, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	// the first try determines the current number of compactions
	for round, done := int64(0), int64(0); done != int64(at); {
		if round, _, done, err = etcd3.Compact(ctx, f.client.Client, round, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(30 * time.Second); f.compacted() != int64(at); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the storage has noticed the compaction to %d, want %d", f.compacted(), at)
		}
	}
}
