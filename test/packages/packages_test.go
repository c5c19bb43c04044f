// Package packages tests what is released: archives, the package for Debian, the container image,
// the manifest for Kubernetes, and `make cluster`.
//
// It owns no programs: scripts/ builds them, from a copy of the sources so that nothing of this
// directory gets into them. The package is installed, upgraded and purged under a real systemd, in
// namespaces of its own over a copy-on-write view of this machine's file system: nothing outside is
// changed.
//
// Concurrency: the tests run one after the other; they share what was built.
package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/internal/version"
	"cairn/test/harness"
)

// patience is how long a script may take: on a busy machine, one that builds everything for the
// first time takes minutes.
const patience = 7 * time.Minute

// epoch is the time of the release: 2026-11-29.
const epoch = "1795910400"

func TestMain(m *testing.M) { harness.Main(m) }

// release is what is built once for several tests: two copies of the sources, what scripts/stage
// makes of the first, and the archive and the package of that.
type release struct{ first, second, stage, packed string }

// TestRelease builds from two copies of the sources, whose paths differ in length, and tests what
// comes out.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	r := &release{filepath.Join(dir, "a", "src"), filepath.Join(dir, "another", "src"), filepath.Join(dir, "stage"), filepath.Join(dir, "packed")}
	for _, to := range []string{r.first, r.second} {
		if err := copySources(to); err != nil {
			t.Fatal(err)
		}
	}
	script(t, r.first, nil, "scripts/stage", r.stage, runtime.GOARCH)
	pack(t, r.first, r.stage, r.packed)
	t.Run("Reproducible", r.reproducible)
	t.Run("Archive", r.archive)
	t.Run("Debian", r.debian)
	t.Run("Container", r.container)
}

// script runs a script of a copy of the sources, and returns its standard output.
func script(t *testing.T, sources string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = sources
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "COMPRESSION=1"), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out, stderr.String())
	}
	return string(out)
}

// copySources copies what is released, and what it is built from, to a directory.
func copySources(to string) error {
	root := "../.."
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		top, _, _ := strings.Cut(name, "/")
		switch {
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "test", "sim", "check", "node_modules"}, top)):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, info.Mode().Perm())
	})
}

// sums returns the SHA-256 and the mode of each file below a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		sum := sha256.Sum256(text)
		all[strings.TrimPrefix(path, dir+"/")] = info.Mode().String() + " " + hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantEqual(t *testing.T, what string, first, second map[string]string) {
	t.Helper()
	for name, sum := range first {
		if second[name] != sum {
			t.Errorf("%s: %s is %s in one build and %s in the other", what, name, sum, second[name])
		}
	}
	if len(first) != len(second) || len(first) == 0 {
		t.Errorf("%s: %d files in one build, %d in the other", what, len(first), len(second))
	}
}

// reproducible: two builds, from sources at different paths, give the same bytes: programs, man
// pages, completions, bills of materials, and the archives and packages of them.
func (r *release) reproducible(t *testing.T) {
	again := filepath.Join(t.TempDir(), "second-stage")
	script(t, r.second, []string{"TZ=Asia/Tokyo"}, "scripts/stage", again, runtime.GOARCH)
	wantEqual(t, "scripts/stage", sums(t, r.stage), sums(t, again))
	packed := filepath.Join(t.TempDir(), "packed")
	pack(t, r.second, again, packed)
	wantEqual(t, "scripts/dist and scripts/deb", sums(t, r.packed), sums(t, packed))
}

// pack makes an archive and a package of what was staged.
func pack(t *testing.T, sources, staged, out string) {
	t.Helper()
	env := []string{"STAGED=" + staged}
	script(t, sources, env, "scripts/dist", out, runtime.GOARCH)
	if _, err := exec.LookPath("dpkg-deb"); err == nil {
		script(t, sources, env, "scripts/deb", out, runtime.GOARCH)
	}
}

// archive unpacks an archive: the programs run, the checksums and the bill of materials are
// right.
func (r *release) archive(t *testing.T) {
	out := t.TempDir()
	name := "cairn-" + version.Cairn + "-linux-" + runtime.GOARCH
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = r.packed
	if text, err := check.CombinedOutput(); err != nil {
		t.Errorf("checksums: %v\n%s", err, text)
	}
	files := untar(t, filepath.Join(r.packed, name+".tar.gz"), out)
	for _, want := range []string{
		"etcd", "etcdctl", "etcdutl", "README.md", "LICENSE", "CHANGELOG.md", "share/man/man1/etcd.1", "share/man/man1/etcdutl.1", "share/man/man1/etcdctl-put.1",
		"share/completions/bash/etcdctl", "share/completions/zsh/_etcdutl", "contrib/systemd/etcd.service", "contrib/grafana/etcd.json", "docs/guides/install.md",
	} {
		if !slices.Contains(files, name+"/"+want) {
			t.Errorf("%s is not in the archive", want)
		}
	}
	for program, want := range map[string]string{"etcd": "Cairn Version: " + version.Cairn, "etcdctl": version.API, "etcdutl": version.API} {
		arg := map[string]string{"etcd": "--version"}[program]
		if arg == "" {
			arg = "version"
		}
		text, err := exec.Command(filepath.Join(out, name, program), arg).CombinedOutput()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s %s: %v\n%s", program, arg, err, text)
		}
	}
	var bill struct {
		Components []struct{ Type, Name, Version string }
	}
	text, err := os.ReadFile(filepath.Join(r.packed, name+".cdx.json"))
	if err == nil {
		err = json.Unmarshal(text, &bill)
	}
	if err != nil {
		t.Fatal(err)
	}
	libraries := map[string]bool{}
	for _, c := range bill.Components {
		libraries[c.Name] = c.Version != ""
	}
	for _, want := range []string{"stdlib", "github.com/cockroachdb/pebble/v2", "go.etcd.io/raft/v3", "etcd", "etcdctl"} {
		if !libraries[want] {
			t.Errorf("the bill of materials lacks %s or its version", want)
		}
	}
}

// untar unpacks an archive below a directory, and returns the names in it. Owners and times must be
// those of the release.
func untar(t *testing.T, archive, dir string) (names []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || fmt.Sprint(h.ModTime.Unix()) != epoch || h.Mode&0o022 != 0 {
			t.Errorf("%s: owner %d:%d, time %v, mode %o", h.Name, h.Uid, h.Gid, h.ModTime, h.Mode)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o755)
		} else {
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, text, h.FileInfo().Mode().Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// needsNamespaces skips where a test cannot have a file system and processes of its own.
func needsNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		harness.CannotRun(t, "needs root, for namespaces of its own")
	}
	if out, err := exec.Command("unshare", "--mount", "--pid", "--net", "--cgroup", "--fork", "true").CombinedOutput(); err != nil {
		harness.CannotRun(t, "this machine has no namespaces: %v %s", err, out)
	}
	if text, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(text, []byte("\toverlay\n")) {
		harness.CannotRun(t, "this machine has no overlay file system")
	}
}

// inNamespaces runs a script of testdata with namespaces of its own: what it mounts and starts ends
// with it.
func inNamespaces(t *testing.T, name string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net", "--fork", "--kill-child", "bash", filepath.Join("testdata", name))
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(out)
}

// debian installs, upgrades, removes and purges the package under a real systemd.
func (r *release) debian(t *testing.T) {
	needsNamespaces(t)
	for file, of := range map[string]string{"/usr/bin/dpkg-deb": "dpkg", "/lib/systemd/systemd": "systemd", "/usr/sbin/adduser": "adduser", "/usr/bin/deb-systemd-helper": "init-system-helpers"} {
		harness.Needs(t, file, of)
	}
	dir := t.TempDir()
	copyFile(t, filepath.Join(r.packed, "cairn_"+version.Cairn+"_"+runtime.GOARCH+".deb"), filepath.Join(dir, "old.deb"))
	newer := version.Cairn + "+test"
	out := script(t, r.first, []string{"STAGED=" + r.stage, "DEB_VERSION=" + newer}, "scripts/deb", dir, runtime.GOARCH)
	if err := os.Rename(strings.TrimSpace(out), filepath.Join(dir, "new.deb")); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "testdata/service.sh", filepath.Join(dir, "service.sh"))
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	out = inNamespaces(t, "boot.sh", "DIR="+dir, "ROOT="+filepath.Join(dir, "root"))
	log, err := os.ReadFile(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatalf("the service of the test did not run: %v\n%s", err, out)
	}
	if !strings.HasSuffix(string(log), "all good\n") || t.Failed() {
		t.Errorf("%s\n%s", log, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// harnessPrograms returns a directory with the programs under test, as scripts/cluster wants it.
func harnessPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, path := range map[string]string{"etcd": harness.Etcd(t), "etcdctl": harness.Etcdctl(t)} {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
