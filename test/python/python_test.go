// Package python drives a real server with python3-etcd, Debian's package of the python-etcd client
// of the v2 API.
//
// It owns the scripts in testdata, which make the checks by the client's own API: its result
// objects, its exceptions, its iteration over directories, its locks. They run under Debian's own
// /usr/bin/python3, for which the package is installed.
//
// Concurrency: none.
package python

import (
	"testing"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestKeys(t *testing.T) { run(t, "keys.py") }

func TestLocks(t *testing.T) { run(t, "locks.py") }

func run(t *testing.T, script string) {
	t.Helper()
	harness.RunPython(t, script, "/usr/lib/python3/dist-packages/etcd/__init__.py", "python3-etcd")
}
