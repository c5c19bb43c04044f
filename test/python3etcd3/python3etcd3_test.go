// Package python3etcd3 drives a real server with python3-etcd3, Debian's package of the etcd3
// client of the v3 API.
//
// It owns testdata/v3.py, which makes the checks by the client's own API: its results, exceptions,
// events and locks. It runs under Debian's own /usr/bin/python3, for which the package is
// installed.
//
// Concurrency: none.
package python3etcd3

import (
	"testing"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestV3(t *testing.T) {
	harness.RunPython(t, "v3.py", "/usr/lib/python3/dist-packages/etcd3/__init__.py", "python3-etcd3")
}
