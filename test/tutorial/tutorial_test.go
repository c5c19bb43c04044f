// Package tutorial types the data commands of the tutorial that this project starts from, on a fresh server, and compares what they
// print with what the tutorial shows.
//
// It owns testdata/commands.txt, where the differences to the page are explained. The recorded conformance suite has
// the same commands as etcd 3.1.5 answered them; this is what the user reads.
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
		env = append(env, "ETCDCTL_API=2") // Debian's client speaks v3 unless told so
	}
	s.Transcript(t, "testdata/commands.txt", harness.Etcdctl(t), anchor, env...)
}
