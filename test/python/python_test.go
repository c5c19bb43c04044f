// Package python drives a real server with python3-etcd, Debian's package of the python-etcd client of the v2 API.
//
// It owns the scripts in testdata, which do the checking in the client's own terms: its result objects, its exceptions, its
// iteration over directories, its locks. They run under Debian's own /usr/bin/python3, for which the package is installed.
//
// Concurrency: none.
package python

import (
	"path/filepath"
	"testing"

	"cairn/test/harness"
)

const (
	interpreter = "/usr/bin/python3"
	library     = "/usr/lib/python3/dist-packages/etcd/__init__.py"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestKeys(t *testing.T) { run(t, "keys.py") }

func TestLocks(t *testing.T) { run(t, "locks.py") }

func run(t *testing.T, name string) {
	t.Helper()
	harness.Needs(t, library, "python3-etcd")
	s := harness.Start(t)
	script, err := filepath.Abs("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Run(t, harness.Command{
		Args: []string{interpreter, "-W", "ignore", script, s.Address()},
		Env:  []string{"PYTHONDONTWRITEBYTECODE=1"},
	})
	if got.Exit != 0 {
		t.Fatalf("exit %d\n%s%s", got.Exit, got.Stdout, got.Stderr)
	}
	if want := "all good\n"; got.Stdout != want {
		t.Errorf("said %q, want %q", got.Stdout, want)
	}
}
