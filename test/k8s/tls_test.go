package k8s

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"cairn/test/harness"
)

// TestMutualTLS connects as kube-apiserver does, from a storagebackend.TransportConfig with the
// files of certificates: objects, watches, and the check behind /healthz.
func TestMutualTLS(t *testing.T) {
	server, files := harness.StartSecure(t)
	config := storagebackend.NewDefaultConfig("/registry", apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion))
	config.Transformer = identity.NewEncryptCheckTransformer()
	config.Transport.ServerList = []string{server.URL()}
	config.Transport.CertFile, config.Transport.KeyFile, config.Transport.TrustedCAFile = files.Cert, files.Key, files.CA
	config.LeaseManagerConfig.ReuseDurationSeconds = 1
	store, destroy, err := factory.Create(*config.ForResource(pods), newPod, newPodList, "/pods")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	ctx := t.Context()
	t.Run("Watch", func(t *testing.T) { storagetesting.RunTestWatch(ctx, t, store) })
	t.Run("UnconditionalDelete", func(t *testing.T) { storagetesting.RunTestUnconditionalDelete(ctx, t, store) })
	t.Run("CreateWithTTL", func(t *testing.T) { storagetesting.RunTestCreateWithTTL(ctx, t, store) })

	healthy, err := factory.CreateHealthCheck(*config, ctx.Done())
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if last = healthy(); last == nil { // it connects in the background
			return
		}
	}
	t.Errorf("health check: %v", last)
}
