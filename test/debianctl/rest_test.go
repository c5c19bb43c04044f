package debianctl

import (
	"testing"

	"cairn/test/harness"
)

func TestRest(t *testing.T) {
	harness.Needs(t, etcdctl, "etcd-client")
	harness.Start(t).Transcript(t, "testdata/rest.txt", etcdctl, 0, "ETCDCTL_API=3")
}
