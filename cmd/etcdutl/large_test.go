package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/test/harness"
)

// residentMax is the memory that a command may take, whatever the size of its files.
const residentMax = 300 << 20

// TestLargeStore runs every command that reads or writes a whole store on one of
// CAIRN_LARGE_STORE_MB megabytes (make large: 5,000): each takes less than residentMax. It prints
// the memory and the time, beside those of cp for the same bytes.
func TestLargeStore(t *testing.T) {
	megabytes, err := strconv.Atoi(os.Getenv("CAIRN_LARGE_STORE_MB"))
	if err != nil {
		t.Skip("CAIRN_LARGE_STORE_MB is not set: `make large` runs this test")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	remove := func(names ...string) {
		for _, name := range names {
			if err := os.RemoveAll(path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := &measured{t: t, dir: dir}
	etcdutl, etcdctl := harness.Etcdutl(t), harness.Etcdctl(t)

	revision := largeSnapshot(t, path("etcd.db"), int64(megabytes)<<20)
	info, err := os.Stat(path("etcd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a snapshot of etcd with %d MB and revision %d", info.Size()>>20, revision)
	m.run("cp, and sync of the copy", "sh", "-c", "cp etcd.db copy && sync copy")
	remove("copy")
	m.run("etcdutl snapshot status (etcd's)", etcdutl, "snapshot", "status", "etcd.db")
	m.run("etcdutl import", etcdutl, "import", "etcd.db", "--data-dir", "imported")
	remove("etcd.db")
	m.run("etcdutl check", etcdutl, "check", "imported")
	want := m.run("etcdutl hashkv", etcdutl, "hashkv", "imported", "-w", "json")
	m.save(etcdctl, "imported", "saved.db")
	m.run("etcdutl snapshot status", etcdutl, "snapshot", "status", "saved.db")
	m.run("etcdutl snapshot restore", etcdutl, "snapshot", "restore", "saved.db", "--data-dir", "restored")
	remove("saved.db")
	if got := m.run("etcdutl hashkv", etcdutl, "hashkv", "restored", "-w", "json"); got != want || !strings.Contains(got, fmt.Sprint(revision)) {
		t.Errorf("hash of the restored store %s, of the imported one %s; want them to be equal at revision %d", got, want, revision)
	}
	m.run("etcdutl export", etcdutl, "export", "restored", "--output", "exported.db")
	if got := m.run("etcdutl snapshot status (of the export)", etcdutl, "snapshot", "status", "exported.db"); !strings.Contains(got, fmt.Sprintf(", %d, ", revision)) {
		t.Errorf("status of the export: %s, want revision %d", got, revision)
	}
	remove("exported.db")
	m.run("etcdutl export --format jsonl", etcdutl, "export", "restored", "--format", "jsonl", "--output", "exported.jsonl")
}

// measured runs commands in a directory and reports what they take.
type measured struct {
	t   *testing.T
	dir string
}

// run runs a command, which must succeed, and returns its output.
func (m *measured) run(what, program string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = m.dir, append(os.Environ(), "ETCDCTL_API=3", "TMPDIR="+m.dir)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", what, err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		m.t.Fatal("the system does not report the memory of a process")
	}
	m.t.Logf("%-42s %4d MiB at most, %6.1f s, %6.1f s of processor", what, usage.Maxrss>>10, took.Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	if usage.Maxrss<<10 > residentMax && program != "sh" {
		m.t.Errorf("%s took %d MiB, want at most %d", what, usage.Maxrss>>10, residentMax>>20)
	}
	return string(out)
}

// save starts a member with a data directory and saves a snapshot of it.
func (m *measured) save(etcdctl, dataDir, file string) {
	m.t.Helper()
	s := harness.Start(m.t)
	s.Stop()
	if err := os.RemoveAll(s.DataDir()); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, dataDir), s.DataDir()); err != nil {
		m.t.Fatal(err)
	}
	s.Restart()
	m.run("etcdctl snapshot save", etcdctl, "--endpoints", s.URL(), "--command-timeout", "1h", "snapshot", "save", file)
	s.Stop()
	if err := os.RemoveAll(s.DataDir()); err != nil {
		m.t.Fatal(err)
	}
}

// largeSnapshot writes a snapshot of etcd with about n bytes: keys with three versions each, of 4
// to 12 KiB, that do not compress. It returns the last revision.
func largeSnapshot(t *testing.T, path string, n int64) (revision int64) {
	t.Helper()
	w, err := etcdfile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const averageBytes, versions = 8 << 10, 3
	value, rng := make([]byte, 12<<10), rand.NewChaCha8([32]byte{1})
	keys := max(n/averageBytes/versions, 1)
	revision = 1
	for version := int64(1); version <= versions; version++ {
		for key := range keys {
			revision++
			size := 4<<10 + rng.Uint64()%(8<<10)
			rng.Read(value[:size]) //nolint:errcheck // never fails
			r := kv.Record{Mod: kv.Revision{Main: revision}, CreateRevision: 2 + key, Version: version, Value: value[:size]}
			if err := w.Change(fmt.Appendf(nil, "/registry/objects/%08d", key), &r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return revision
}
