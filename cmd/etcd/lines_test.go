package main

import "testing"

// TestLinesThatToolsWaitFor checks for the log lines that etcd's tools and tests wait for.
func TestLinesThatToolsWaitFor(t *testing.T) {
	p := start(t, t.TempDir(), nil,
		"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0")
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`enabled capabilities for version \d`)
	p.await(`published name=default`)
	p.await(`ready to serve client requests$`)
	for range 3 {
		post(t, url+"/v3/kv/put", `{"key":"YQ==","value":"Yg=="}`)
	}
	post(t, url+"/v3/kv/compaction", `{"revision":"3"}`)
	p.await(`finished scheduled compaction compact_revision=3`)
}
