// Package tutorial follows the instructions of the tutorial that this project starts from, from the
// installation to the last command, and compares the output with the tutorial's.
//
// It owns testdata/commands.txt, the data commands, where the differences to the page are
// explained; testdata/install.txt, the installation; and the rest in Go, since it needs two
// terminals or a service manager. test/members adds and removes members. The recorded conformance
// suite has the same commands with the responses of etcd 3.1.5; this package has the texts that the
// user reads.
//
// Concurrency: none.
package tutorial

import (
	"strconv"
	"testing"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestCommands(t *testing.T) {
	s := harness.Start(t)
	_, _, header := s.HTTP("GET", "/v2/keys/", "")
	anchor, err := strconv.ParseInt(header.Get("X-Etcd-Index"), 10, 64)
	if err != nil {
		t.Fatalf("X-Etcd-Index: %v", err)
	}
	var env []string
	if harness.Reference(t) != "" {
		env = append(env, "ETCDCTL_API=2") // Debian's client uses v3 by default
	}
	s.Transcript(t, "testdata/commands.txt", harness.Etcdctl(t), anchor, env...)
}
