package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cairn/test/dnstest"
)

// freeHosts returns addresses of this machine that nobody listens on.
func freeHosts(t *testing.T, n int) (hosts []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		hosts = append(hosts, l.Addr().String())
	}
	return hosts
}

// getPage reads a page of a member.
func getPage(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDiscoverySRV bootstraps three members that know nothing but a domain, and starts one of them
// again after the records are gone.
func TestDiscoverySRV(t *testing.T) {
	peers := freeHosts(t, 3)
	records := []string{localhost}
	for _, host := range peers {
		records = append(records, srv(t, "_etcd-server._tcp.example.com.", host))
	}
	dns := dnstest.New(t, records...)
	dir := t.TempDir()
	run := func(i int, server string) *process {
		return start(t, dir, []string{dnsServer + "=" + server}, "--name", fmt.Sprintf("n%d", i), "--discovery-srv", "example.com",
			"--listen-peer-urls", "http://"+peers[i], "--initial-advertise-peer-urls", "http://"+peers[i],
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1")
	}
	members, hosts := make([]*process, 3), make([]string, 3)
	for i := range members {
		members[i] = run(i, dns.Addr)
	}
	for i, p := range members {
		hosts[i] = p.await(`serving .*client requests.* address=(\S+)`)[1]
	}
	list := getPage(t, "http://"+hosts[0]+"/v2/members")
	for i, host := range peers {
		_, port, _ := net.SplitHostPort(host)
		// the records' URLs are the members', since every member must derive the same IDs
		if !strings.Contains(list, fmt.Sprintf(`"name":"n%d","peerURLs":["http://localhost:%s"]`, i, port)) {
			t.Errorf("n%d is not in %s", i, list)
		}
	}

	members[2].signal(syscall.SIGTERM)
	if status, stderr := members[2].end(); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	run(2, dnstest.New(t).Addr).await(`serving .*client requests.* address=(\S+)`)
}

// TestDiscoveryFailures holds that nothing is written when no members are found.
func TestDiscoveryFailures(t *testing.T) {
	dns := dnstest.New(t, srv(t, "_etcd-server._tcp.example.com.", "127.0.0.1:1"), localhost)
	for domain, want := range map[string]string{
		"example.com": `etcd: --initial-advertise-peer-urls: http://localhost:2380 is none of the members in the SRV records of "example.com" (http://localhost:1): want the URL of one of them`,
		"example.org": `etcd: --discovery-srv: no members in the SRV records of "example.org" (`,
	} {
		dir := t.TempDir()
		p := start(t, dir, []string{dnsServer + "=" + dns.Addr}, anyPort("--discovery-srv", domain)...)
		if status, stderr := p.end(); status != 1 || !strings.HasPrefix(stderr, want) {
			t.Errorf("%s: status %d: %s", domain, status, stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, "default.etcd")); !os.IsNotExist(err) {
			t.Errorf("%s: the data directory: %v", domain, err)
		}
	}
}
