// Package python3etcd3 drives a real server with python3-etcd3, Debian's package of the etcd3 client of the v3 API.
//
// It owns testdata/v3.py, which does the checking in the client's own terms: its results, exceptions, events and locks. It
// runs under Debian's own /usr/bin/python3, for which the package is installed.
//
// Concurrency: none.
package python3etcd3

import (
	"path/filepath"
	"testing"

	"cairn/test/harness"
)

const (
	interpreter = "/usr/bin/python3"
	library     = "/usr/lib/python3/dist-packages/etcd3/__init__.py"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestV3(t *testing.T) {
	harness.Needs(t, library, "python3-etcd3")
	s := harness.Start(t)
	script, err := filepath.Abs("testdata/v3.py")
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
