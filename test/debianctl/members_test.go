package debianctl

import (
	"testing"

	"cairn/test/harness"
)

func TestMembers(t *testing.T) {
	harness.Needs(t, etcdctl, "etcd-client")
	harness.Start(t).Transcript(t, "testdata/members.txt", etcdctl, 0)
}
