package main

import (
	"fmt"
	"os"
	"regexp"
	"syscall"
	"testing"
)

// TestPublish starts a member, kills it, and starts it with another name and other client URLs:
// /v2/members always has what the last start has published, from the first response on, and the
// peer URLs of its first start.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	member := func(name, client string) string {
		return fmt.Sprintf(`{"members":[{"id":"8e9e05c52164694d","name":"%s","peerURLs":["http://localhost:2380"],"clientURLs":["%s"]}]}`+"\n", name, client)
	}
	for run, c := range []struct {
		name, client string
		end          os.Signal
	}{
		{"one", "http://127.0.0.1:1", syscall.SIGKILL},
		{"one", "http://127.0.0.1:1", syscall.SIGKILL}, // from the log alone
		{"one", "http://127.0.0.1:1", syscall.SIGTERM},
		{"two", "http://127.0.0.1:2", syscall.SIGTERM},
		{"two", "http://127.0.0.1:2", syscall.SIGTERM}, // from the state alone: nothing is published
	} {
		args := []string{
			"--data-dir", "data", "--name", c.name, "--advertise-client-urls", c.client,
			"--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", "http://127.0.0.1:0",
		}
		p := start(t, dir, nil, args...)
		url := p.await(`listening for client requests url=(\S+)`)[1]
		// The connection waits until clients are served.
		if got := get(t, url+"/v2/members"); got != member(c.name, c.client) {
			t.Errorf("run %d: got %s", run, got)
		}
		p.await(regexp.QuoteMeta("published name=" + c.name + " client_urls=[" + c.client + "] cluster_id=cdf818194e3a8c32"))
		p.await(`ready to serve client requests$`)
		p.signal(c.end)
		if status, stderr := p.end(); c.end == syscall.SIGTERM && status != 0 {
			t.Errorf("run %d: status %d\n%s", run, status, stderr)
		}
	}
}
