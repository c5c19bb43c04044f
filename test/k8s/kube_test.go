package k8s

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	kubescheme "k8s.io/client-go/kubernetes/scheme"

	"cairn/test/harness"
)

// TestKubeView shows objects in the API server's form through `etcdctl -w kube`.
func TestKubeView(t *testing.T) {
	server, dir, ctx := harness.Start(t), t.TempDir(), t.Context()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "etcdctl-kube"), "./etcdctl-kube")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build etcdctl-kube: %v\n%s", err, out)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{server.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	put := func(key, value string) int64 {
		r, err := c.Put(ctx, key, value)
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	web := "/registry/pods/default/web"
	first := put(web, storedPod(t, "nginx:1"))
	put(web, storedPod(t, "nginx:2"))
	put("/registry/secrets/default/s", "k8s:enc:aescbc:v1:key1:\x00\x01")

	etcdctl := func(args ...string) harness.Result {
		return server.Run(t, harness.Command{
			Args: append([]string{harness.Etcdctl(t)}, args...), Env: []string{"ETCDCTL_API=3", "PATH=" + dir + ":" + os.Getenv("PATH")},
		})
	}
	rev := func(n int64) string { return "--rev=" + string(rune('0'+n)) }
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"get", web}, []string{"---\n# " + web + "  revision 3\napiVersion: v1\nkind: Pod\n", "  - image: nginx:2\n"}},
		{[]string{"get", "--prefix", "/registry/secrets/"}, []string{`# encrypted by the API server: provider "aescbc", key "key1"`}},
		{[]string{"history", web}, []string{"- " + "  - image: nginx:1", "+ " + "  - image: nginx:2"}},
		{[]string{"diff", rev(first), "/registry/pods/"}, []string{"- " + "  - image: nginx:1", "+ " + "  - image: nginx:2"}},
		{[]string{"tree", "/registry/"}, []string{"web  Pod v1  ", "s  encrypted by the API server"}},
	} {
		r := etcdctl(append(test.args, "-w", "kube")...)
		for _, want := range test.want {
			if r.Exit != 0 || !strings.Contains(r.Stdout, want) {
				t.Errorf("etcdctl %s: exit status %d, %s%s\nwant %q", strings.Join(test.args, " "), r.Exit, r.Stdout, r.Stderr, want)
			}
		}
	}
	watch := server.Begin(t, harness.Command{
		Args: []string{harness.Etcdctl(t), "watch", "--prefix", "/registry/pods/", "--rev=2", "-w", "kube"},
		Env:  []string{"ETCDCTL_API=3", "PATH=" + dir + ":" + os.Getenv("PATH")},
	}, nil)
	harness.Await(t, "the watch shows both pods", func() bool {
		return strings.Contains(watch.Output(), "# "+web+"  PUT revision 2\n") && strings.Contains(watch.Output(), "image: nginx:2")
	})
	r := server.Run(t, harness.Command{Args: []string{harness.Etcdctl(t), "get", web, "-w", "kube"}, Env: []string{"ETCDCTL_API=3"}})
	if r.Exit != 4 || !strings.Contains(r.Stderr, "etcdctl-kube is neither beside etcdctl nor in $PATH") {
		t.Errorf("without etcdctl-kube: exit status %d, %s", r.Exit, r.Stderr)
	}
	if r := etcdctl("put", "k", "v", "-w", "kube"); r.Exit != 4 || !strings.Contains(r.Stderr, "kube not supported as output format") {
		t.Errorf("put in the format kube: exit status %d, %s", r.Exit, r.Stderr)
	}
}

// storedPod returns a pod as the API server stores it.
func storedPod(t *testing.T, image string) string {
	t.Helper()
	var b bytes.Buffer
	encoder := kubescheme.Codecs.EncoderForVersion(protobuf.NewSerializer(kubescheme.Scheme, kubescheme.Scheme), corev1.SchemeGroupVersion)
	if err := encoder.Encode(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
