package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dirOf returns a data directory of etcd, unpacked from the test data of package backup.
func dirOf(t *testing.T, archive, top string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join("..", "..", "internal", "backup", "testdata", "etcd", archive)
	if out, err := exec.Command("tar", "xzf", path, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", archive, err, out)
	}
	return filepath.Join(dir, top)
}

// TestImportOfDirectories: a directory with v3 keys is imported with its log, one without by its v2
// keys, and so is a backup of v2.
func TestImportOfDirectories(t *testing.T) {
	for _, c := range []struct{ archive, top, want string }{
		{"3.7.1.data-dir.tar.gz", "d", "revision 115, compacted at 71, 105 changes, 3 leases, 3 users, 3 roles, authentication on; 1 requests from the log\n"},
		{"3.1.5-v2.data-dir.tar.gz", "d", "revision 107, compacted at 60, "},
		{"3.1.5-v2.backup.tar.gz", "b", "revision 107, compacted at 60, "},
		// Its database has no bucket of v3 keys.
		{"3.4.23-v2.backup.tar.gz", "ob", "revision 7, 0 changes, 0 leases, 0 users, 0 roles, authentication off; 13 requests from the log, of which 4 were refused\n"},
	} {
		from, to := dirOf(t, c.archive, c.top), filepath.Join(t.TempDir(), "new")
		if got := etcdutl(t, "import", from, "--data-dir", to); !strings.HasPrefix(got, "found in "+from+": "+c.want) {
			t.Errorf("%s: %s", c.archive, got)
		}
		lines := filepath.Join(t.TempDir(), "lines")
		if got := etcdutl(t, "export", to, "--format", "jsonl", "--output", lines); !strings.HasPrefix(got, "exported "+to) {
			t.Errorf("export of %s: %s", c.archive, got)
		}
	}
	var stdout, stderr bytes.Buffer
	empty := t.TempDir()
	if status := run([]string{"import", "--v2", empty, "--data-dir", filepath.Join(empty, "new")}, &stdout, &stderr); status != exitError ||
		!strings.Contains(stderr.String(), "want the data directory of an etcd, with member/wal") {
		t.Errorf("a directory without a log: exit status %d, %s", status, stderr.String())
	}
	if status := run([]string{"export", "--format", "xml", "--output", "x", empty}, &stdout, &stderr); status != exitUsage {
		t.Errorf("an unknown format: exit status %d, want %d", status, exitUsage)
	}
}
