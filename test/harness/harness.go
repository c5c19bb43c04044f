// Package harness starts real servers for black-box tests, and runs clients against them.
//
// It owns the processes and directories that it makes: every server is killed and every directory
// removed when its test ends, also when the test fails, and a failed test prints the end of its
// servers' logs. It does not know which responses are right.
//
// Three environment variables change what is started: CAIRN_TEST_ETCD and CAIRN_TEST_ETCDCTL name
// programs to use in place of freshly built ones, CAIRN_TEST_ETCD_FLAGS adds flags for every
// server. With
//
//	CAIRN_TEST_ETCD=/usr/bin/etcd CAIRN_TEST_ETCD_FLAGS=--enable-v2=true CAIRN_TEST_ETCDCTL=/usr/bin/etcdctl
//
// the tests run against Debian's etcd 3.4, which checks the tests themselves.
//
// Concurrency: Start may be called from parallel tests; a Server belongs to one test.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built holds the programs that this test process has built, in a directory that Main removes.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// Main runs a package's tests and removes the programs that were built for them. Every package that
// starts a server calls it from TestMain.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that ends in another way. It returns the exit status.
func Run(m *testing.M) int {
	status := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = max(status, 1)
		}
	}
	return status
}

// Etcd returns the path of the server under test.
func Etcd(t testing.TB) string { return program(t, "CAIRN_TEST_ETCD", "etcd") }

// Etcdctl returns the path of the command line client under test.
func Etcdctl(t testing.TB) string { return program(t, "CAIRN_TEST_ETCDCTL", "etcdctl") }

// Etcdutl returns the path of our etcdutl, or of that in CAIRN_TEST_ETCDUTL.
func Etcdutl(t testing.TB) string { return program(t, "CAIRN_TEST_ETCDUTL", "etcdutl") }

func program(t testing.TB, variable, name string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		// go test caches a result until a file that the test has read changes; it does not notice
		// changes of programs that the test starts.
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		return path
	}
	built.Lock()
	defer built.Unlock()
	if path := built.paths[name]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "cairn-bin-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
		readSources(t)
	}
	path := filepath.Join(built.dir, name)
	// Run in the root, since a test of another module (test/k8s) must build with cairn's own
	// dependencies.
	build := exec.Command("go", "build", "-o", path, "./cmd/"+name)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	built.paths[name] = path
	return path
}

// readSources reads the names and times of the module's files, for the same reason that program
// reads those of its file: go test must not use a cached result when they have changed.
func readSources(t testing.TB) {
	t.Helper()
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules") {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reference detects once whether the server under test is another project's etcd.
var reference = sync.OnceValues(func() (string, error) {
	path := os.Getenv("CAIRN_TEST_ETCD")
	if path == "" {
		return "", nil
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil || strings.Contains(string(out), "Cairn Version:") {
		return "", err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first, nil
})

// Reference returns the name and version of the server under test when it is not cairn, and ""
// otherwise. Tests use it only where the other server rightly behaves differently.
func Reference(t testing.TB) string {
	t.Helper()
	name, err := reference()
	if err != nil {
		t.Fatalf("ask CAIRN_TEST_ETCD for its version: %v", err)
	}
	return name
}

// Needs checks that a program of another project is installed. Without it the test fails in CI
// (CI=true) and is skipped elsewhere, with a message that explains how to install it; `make test`
// lists the skipped tests at its end.
func Needs(t testing.TB, program, debianPackage string) {
	t.Helper()
	NeedsOf(t, program, "apt-get install "+debianPackage)
}

// NeedsOf is Needs for programs that Debian does not package; the message has the command that
// installs it.
func NeedsOf(t testing.TB, file, command string) {
	t.Helper()
	_, err := os.Stat(file)
	if err == nil {
		return
	}
	CannotRun(t, "%s is not there: %s", file, command)
}

// CannotRun ends a test that the machine cannot run: it fails in CI (CI=true), and is skipped
// elsewhere.
func CannotRun(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
