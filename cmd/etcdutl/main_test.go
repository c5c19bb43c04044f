package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/datadir"
	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// snapshotOf returns a snapshot that etcd itself wrote, unpacked from the test data of package
// backup.
func snapshotOf(t *testing.T, etcdVersion string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("..", "..", "internal", "backup", "testdata", "etcd", etcdVersion+".snapshot.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "etcd.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// etcdutl runs a command that must succeed and returns what it printed.
func etcdutl(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, &stdout, &stderr); status != exitOK {
		t.Fatalf("etcdutl %s: exit status %d\n%s", strings.Join(args, " "), status, stderr.String())
	}
	return stdout.String()
}

func TestSnapshotStatusOfEtcd(t *testing.T) {
	for etcdVersion, want := range map[string]string{
		// The output of etcdctl 3.4.23 and etcdutl 3.7.1 for these files.
		"3.1.5":  "6273151c, 113, 120, 1.9 MB\n",
		"3.4.23": "1e4dd8b0, 113, 120, 1.8 MB\n",
		"3.7.1":  "c973f494, 113, 123, 1.8 MB, 3.7.0\n",
	} {
		if got := etcdutl(t, "snapshot", "status", snapshotOf(t, etcdVersion)); got != want {
			t.Errorf("status of a snapshot of %s: %q, want %q", etcdVersion, got, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	imported, exported, again := filepath.Join(dir, "imported"), filepath.Join(dir, "exported.db"), filepath.Join(dir, "again")
	out := etcdutl(t, "import", snapshotOf(t, "3.7.1"), "--data-dir", imported)
	if !strings.Contains(out, "revision 113, compacted at 71, 104 changes, 3 leases, 3 users, 3 roles, authentication on") {
		t.Errorf("import: %s", out)
	}
	if out := etcdutl(t, "check", imported); !strings.Contains(out, "is consistent: revision 113, 70 keys, 3 leases") {
		t.Errorf("check: %s", out)
	}
	etcdutl(t, "export", imported, "--output", exported)
	etcdutl(t, "snapshot", "restore", exported, "--data-dir", again)
	before, after := etcdutl(t, "hashkv", imported, "-w", "json"), etcdutl(t, "hashkv", again, "-w", "json")
	if before != after || !strings.Contains(before, `"hashRevision":113,"compactRevision":71`) {
		t.Errorf("hash after a round trip: %s, before: %s", after, before)
	}
}

func TestWrongUse(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	etcds := snapshotOf(t, "3.4.23")
	for _, c := range []struct {
		args   []string
		status int
		want   string // part of the error
	}{
		{[]string{"snapshot", "status"}, exitUsage, "exactly 1 argument"},
		{[]string{"snapshot", "status", filepath.Join(dir, "missing")}, exitError, "no such file"},
		{[]string{"snapshot", "status", text}, exitError, text},
		{[]string{"snapshot", "status", etcds, "-w", "xml"}, exitUsage, "--write-out=xml"},
		{[]string{"import", text, "--data-dir", filepath.Join(dir, "d")}, exitError, "magic number"},
		{[]string{"import", etcds, "--data-dir", full}, exitError, "not empty"},
		{[]string{"import", etcds, "--name", "n9", "--data-dir", filepath.Join(dir, "d")}, exitUsage, "n9"},
		{[]string{"import", full}, exitError, "want the data directory of an etcd"},
		{[]string{"import", etcds, "--wal-dir", "w"}, exitUsage, "--wal-dir"},
		{[]string{"export", full, "-o", filepath.Join(dir, "o")}, exitError, full},
		{[]string{"export", full}, exitUsage, "--output"},
		{[]string{"export", full, "-o", text}, exitError, full},
		{[]string{"check", dir}, exitError, dir},
		{[]string{"snapshot", "hashkv", full}, exitError, "is a directory"},
		{[]string{"--bogus"}, exitUsage, "bogus"},
		{[]string{"bogus"}, exitError, "bogus"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(c.args, &stdout, &stderr); status != c.status || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("etcdutl %s: exit status %d, %q; want %d and %q", strings.Join(c.args, " "), status, stderr.String(), c.status, c.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "d")); err == nil {
			t.Fatalf("etcdutl %s has left a directory", strings.Join(c.args, " "))
		}
	}
}

// TestTimeout: a command waits for --timeout until the process that has a data directory open has
// closed it.
func TestTimeout(t *testing.T) { synctest.Test(t, testTimeout) }

func testTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imported")
	etcdutl(t, "import", snapshotOf(t, "3.7.1"), "--data-dir", path)
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"hashkv", path}, &stdout, &stderr); status != exitError || !strings.Contains(stderr.String(), path) {
		t.Errorf("without --timeout: exit status %d, %s", status, stderr.String())
	}
	closed := make(chan error, 1)
	go func() {
		time.Sleep(2 * pollInterval) // on synctest's clock: the command has tried twice
		closed <- dir.Close()
	}()
	etcdutl(t, "hashkv", path, "--timeout", "1m")
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

const (
	debianEtcd    = "/usr/bin/etcd"
	debianEtcdctl = "/usr/bin/etcdctl"
)

// TestDebianTakesExports restores an export with Debian's etcdctl, starts Debian's etcd on it, and
// compares its hash of all keys with the hash of the snapshot that was imported.
func TestDebianTakesExports(t *testing.T) {
	harness.Needs(t, debianEtcd, "etcd-server")
	harness.Needs(t, debianEtcdctl, "etcd-client")
	dir := t.TempDir()
	original := snapshotOf(t, "3.4.23")
	imported, exported := filepath.Join(dir, "imported"), filepath.Join(dir, "exported.db")
	etcdutl(t, "import", original, "--data-dir", imported)
	etcdutl(t, "export", imported, "--output", exported)
	if before, after := debianHash(t, original), debianHash(t, exported); before != after {
		t.Errorf("hash of the export %+v, of the original %+v", after, before)
	}
}

// debianHash returns the hash that Debian's etcd computes of the keys of a snapshot.
func debianHash(t *testing.T, snapshot string) (hash struct{ Hash, HashRevision, CompactRevision json.Number }) {
	t.Helper()
	s := harness.StartOther(t, debianEtcd)
	s.Stop()
	if err := os.RemoveAll(s.DataDir()); err != nil {
		t.Fatal(err)
	}
	etcdctl := func(args ...string) string {
		cmd := exec.Command(debianEtcdctl, args...)
		cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("etcdctl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	etcdctl("snapshot", "restore", snapshot, "--data-dir", s.DataDir())
	s.Restart()
	out := etcdctl("--endpoints", s.URL(), "--dial-timeout", "1m", "--command-timeout", "1m", "--user", "root:rootpw", "endpoint", "hashkv", "-w", "json")
	var responses []struct {
		HashKV struct {
			Hash            json.Number `json:"hash"`
			CompactRevision json.Number `json:"compact_revision"`
			Header          struct {
				Revision json.Number `json:"revision"`
			} `json:"header"`
		}
	}
	if err := json.Unmarshal([]byte(out), &responses); err != nil || len(responses) != 1 {
		t.Fatalf("endpoint hashkv: %s, %v", out, err)
	}
	h := responses[0].HashKV
	hash.Hash, hash.HashRevision, hash.CompactRevision = h.Hash, h.Header.Revision, h.CompactRevision
	if hash.Hash == "" || hash.HashRevision != "113" {
		t.Fatalf("endpoint hashkv: %s", out)
	}
	return hash
}
