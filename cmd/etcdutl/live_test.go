package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cairn/test/harness"
)

// TestExportOfRunningMember exports the state of a member that serves, and compares the hash of its
// keys with that of the export.
func TestExportOfRunningMember(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip("only a member of cairn is exported, not " + other)
	}
	s, dir := harness.Start(t), t.TempDir()
	etcdctl := func(args ...string) string {
		r := s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...), Env: []string{"ETCDCTL_API=3"}})
		if r.Exit != 0 {
			t.Fatalf("etcdctl %q: %s", args, r.Stderr)
		}
		return r.Stdout
	}
	etcdctl("put", "k", "1")
	etcdctl("put", "k", "2")
	etcdctl("del", "k")
	etcdctl("put", "a", "3")
	exported, imported := filepath.Join(dir, "exported.db"), filepath.Join(dir, "imported")
	if got := etcdutl(t, "export", "--endpoints", s.URL(), "--output", exported); !strings.HasPrefix(got, "exported "+s.URL()+" to "+exported+": revision 5, 4 changes, ") {
		t.Errorf("export: %s", got)
	}
	etcdutl(t, "import", exported, "--data-dir", imported)
	hash := regexp.MustCompile(`"hash":\d+`)
	live, file := etcdctl("endpoint", "hashkv", "-w", "json"), etcdutl(t, "hashkv", imported, "-w", "json")
	if a, b := hash.FindString(live), hash.FindString(file); a == "" || a != b {
		t.Errorf("hash of the running member %s, of the export %s", live, file)
	}
	for _, c := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"export", "-o", "x"}, exitUsage, "or --endpoints"},
		{[]string{"export", "file", "--endpoints", s.URL(), "-o", "x"}, exitUsage, "or --endpoints"},
		{[]string{"export", "--endpoints", "a:1,b:2", "-o", "x"}, exitUsage, "want one endpoint"},
		{[]string{"export", "--endpoints", s.URL(), "--user", "root", "-o", "x"}, exitUsage, "want username:password"},
		{[]string{"export", "--endpoints", s.URL(), "--cacert", exported, "-o", "x"}, exitError, "no certificate in PEM"},
		{[]string{"export", "--endpoints", s.URL(), "-o", exported}, exitError, "exists"},
	} {
		var stdout, stderr bytes.Buffer
		if exit := run(c.args, &stdout, &stderr); exit != c.exit || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("etcdutl %q: exit status %d, %q; want %d and %q", c.args, exit, stderr.String(), c.exit, c.want)
		}
	}
}
