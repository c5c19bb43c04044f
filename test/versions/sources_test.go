package versions

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"cairn/test/harness"
)

// The version before this one.
const (
	previous       = "0.1.0"
	previousCommit = "5639fd8"
)

// previousSources is an archive of the files of previousCommit that its etcd is built from. It is
// stored here, since a shallow clone has no earlier commits.
const previousSources = data + "source.tar.gz"

// buildPrevious returns the path of the previous version's etcd, which it builds.
func buildPrevious(t *testing.T) string {
	t.Helper()
	if other := harness.Reference(t); other != "" {
		t.Skip("these are versions of cairn, not of " + other)
	}
	if path := os.Getenv("CAIRN_TEST_PREVIOUS_ETCD"); path != "" {
		return path
	}
	archive, err := filepath.Abs(previousSources)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The sources lie outside of the repository, so that go does not stamp them with its commit.
	for _, args := range [][]string{{"tar", "-xzf", archive}, {"go", "build", "-trimpath", "-buildvcs=false", "-o", "etcd", "./cmd/etcd"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build version %s: %q: %v\n%s", previous, args, err, out)
		}
	}
	return filepath.Join(dir, "etcd")
}

// TestPreviousSources: the stored sources are those of the previous version. In a shallow clone,
// which does not have its commit, there is nothing to compare them with.
func TestPreviousSources(t *testing.T) {
	packed, err := os.ReadFile(previousSources)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	stored := files(t, unpacked)
	if len(stored["cmd/etcd/main.go"]) == 0 || len(stored["go.mod"]) == 0 {
		t.Fatalf("%d files, without cmd/etcd or go.mod", len(stored))
	}
	const root = "../.."
	if exec.Command("git", "-C", root, "cat-file", "-e", previousCommit+"^{commit}").Run() != nil {
		t.Logf("git has no commit %s: the %d files are not compared with it", previousCommit, len(stored))
		return
	}
	out, err := exec.Command("git", "-C", root, "archive", previousCommit, "go.mod", "go.sum", "internal", "cmd/etcd", ":!*_test.go", ":!*/testdata/*").Output()
	if err != nil {
		t.Fatal(err)
	}
	if committed := files(t, bytes.NewReader(out)); !reflect.DeepEqual(stored, committed) {
		t.Errorf("%d files are stored, and commit %s has %d, or other contents", len(stored), previousCommit, len(committed))
	}
}

// files returns the contents of an archive's files by name.
func files(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	contents, archive := map[string]string{}, tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return contents
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			contents[h.Name] = string(text)
		}
	}
}
