package v2diff

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cairn/test/harness"
)

// TestImport imports a snapshot of Debian's etcd with our etcdctl.
func TestImport(t *testing.T) {
	harness.Needs(t, debianEtcd, "etcd-server")
	from := harness.StartOther(t, debianEtcd, "--enable-v2=true", "--snapshot-count=10", "--logger=zap")
	for _, w := range []struct{ path, form string }{
		{"/a", "value=1"},
		{"/d/b", "value=two+ü"},
		{"/d/e", "dir=true"},
		{"/_h/x", "value=hidden"},
		{"/d/_h", "value=below"},
		{"/t", "value=soon&ttl=1"},
		{"/later", "value=x&ttl=1000"},
		{"/dt", "dir=true&ttl=1000"},
		{"/dt/k", "value=y"},
		{"/empty", "value="},
	} {
		if status, body, _ := from.HTTP("PUT", "/v2/keys"+w.path, w.form); status != 201 {
			t.Fatalf("%s: %s", w.path, body)
		}
	}
	snapshots := func() []string {
		found, err := filepath.Glob(filepath.Join(from.DataDir(), "member", "snap", "*.snap"))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(found)
		return found
	}
	// It writes one every ten entries; the test needs one that contains everything above.
	before := len(snapshots())
	for end := time.Now().Add(answerMax); len(snapshots()) < before+2; {
		if time.Now().After(end) {
			t.Fatalf("snapshots: %q", snapshots())
		}
		from.HTTP("PUT", "/v2/keys/beat", "value=x")
	}
	harness.Await(t, "/t expires", func() bool {
		status, _, _ := from.HTTP("GET", "/v2/keys/t", "")
		return status == http.StatusNotFound
	})
	file := snapshots()[len(snapshots())-1]

	s := harness.Start(t)
	run := func(args ...string) harness.Result {
		t.Helper()
		return s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...), Env: []string{"ETCDCTL_API=2"}})
	}
	if got := run("import", "--snap", file); got.Exit != 0 || got.Stdout != "finished importing 7 keys\n" {
		t.Errorf("import: %+v", got)
	}
	want := "/a\n/beat\n/d/\n/d/b\n/d/e/\n/dt/\n/dt/k\n/empty\n/later\n"
	if got := run("ls", "--recursive", "--sort", "-p"); got.Stdout != want {
		t.Errorf("imported\n%s\nwant\n%s", got.Stdout, want)
	}
	for key, want := range map[string]string{"/d/b": "two ü\n", "/d/_h": "below\n", "/empty": "\n"} {
		if got := run("get", key); got.Stdout != want {
			t.Errorf("%s: %+v, want %q", key, got, want)
		}
	}
	for _, path := range []string{"/later", "/dt"} {
		o, th := answer{}, answer{}
		_, o.body, _ = s.HTTP("GET", "/v2/keys"+path+"?recursive=false", "")
		_, th.body, _ = from.HTTP("GET", "/v2/keys"+path, "")
		if !containsTTL(o.body) || !containsTTL(th.body) {
			t.Errorf("%s has no TTL: ours %s theirs %s", path, o.body, th.body)
		}
	}
	if got := run("import", "--snap", file, "--hidden", "/_h"); got.Exit != 0 || run("get", "/_h/x").Stdout != "hidden\n" {
		t.Errorf("import with --hidden: %+v", got)
	}
	damaged, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 1
	bad := filepath.Join(t.TempDir(), "bad.snap")
	if err := os.WriteFile(bad, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run("import", "--snap", bad); got.Exit != 1 || got.Stdout != "" {
		t.Errorf("import of a damaged snapshot: %+v", got)
	}
}

func containsTTL(body string) bool { return volatilePatterns.MatchString(body) }
