// Package tutorial follows the instructions of the tutorial that this project starts from,
// from the installation to the last command, and compares what is printed with what the tutorial
// shows.
//
// It owns testdata/commands.txt, the data commands, where the differences to the page are
// explained; testdata/install.txt, the installation; and the rest in Go, since it takes two
// terminals or a service manager. Members are added and removed where there are several
// (test/members). The recorded conformance suite has the same commands as etcd 3.1.5 answered them;
// this is what the user reads.
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
