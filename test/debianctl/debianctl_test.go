// Package debianctl drives a real server with Debian's etcdctl 3.4, the most common client, in both
// of its API versions.
//
// It owns the transcripts in testdata, which were checked against Debian's own server. Programs
// parse the output of this client, so all of it is compared.
//
// Concurrency: none; each transcript has its own server.
package debianctl

import (
	"encoding/json"
	"strconv"
	"testing"

	"cairn/test/harness"
)

const etcdctl = "/usr/bin/etcdctl"

func TestMain(m *testing.M) { harness.Main(m) }

func TestV3(t *testing.T) {
	harness.Needs(t, etcdctl, "etcd-client")
	s := harness.Start(t)
	// The revision before the first command, by a read that finds nothing.
	said := s.Run(t, harness.Command{Args: []string{etcdctl, "get", "nothing", "-w", "json"}, Env: []string{"ETCDCTL_API=3"}})
	var answer struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
	}
	if err := json.Unmarshal([]byte(said.Stdout), &answer); err != nil {
		t.Fatalf("%v: %+v", err, said)
	}
	s.Transcript(t, "testdata/v3.txt", etcdctl, answer.Header.Revision, "ETCDCTL_API=3")
}

func TestV2(t *testing.T) {
	harness.Needs(t, etcdctl, "etcd-client")
	s := harness.Start(t)
	_, _, header := s.HTTP("GET", "/v2/keys/", "")
	anchor, err := strconv.ParseInt(header.Get("X-Etcd-Index"), 10, 64)
	if err != nil {
		t.Fatalf("X-Etcd-Index: %v", err)
	}
	s.Transcript(t, "testdata/v2.txt", etcdctl, anchor, "ETCDCTL_API=2")
}
