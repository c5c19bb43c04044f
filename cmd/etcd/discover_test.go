package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/dnstest"
	"cairn/test/pki"
	"cairn/test/process"
)

// freeHosts returns addresses of this machine on which no process listens.
func freeHosts(t *testing.T, n int) (hosts []string) {
	t.Helper()
	for range n {
		host, err := process.FreeAddress("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, host)
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

// TestDiscoverySRV bootstraps three members that are configured with only a domain, and restarts
// one of them after the records were removed.
func TestDiscoverySRV(t *testing.T) {
	peers := freeHosts(t, 3)
	records := []string{localhost}
	for _, host := range peers {
		records = append(records, srv(t, "_etcd-server._tcp.example.com.", host))
	}
	dns := dnstest.New(t, records...)
	dir := t.TempDir()
	run := func(i int, server string) *etcd {
		return start(t, dir, []string{dnsServer + "=" + server}, "--name", fmt.Sprintf("n%d", i), "--discovery-srv", "example.com",
			"--listen-peer-urls", "http://"+peers[i], "--initial-advertise-peer-urls", "http://"+peers[i],
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1")
	}
	members, hosts := make([]*etcd, 3), make([]string, 3)
	for i := range members {
		members[i] = run(i, dns.Addr)
	}
	for i, p := range members {
		hosts[i] = p.await(`serving .*client requests.* address=(\S+)`)[1]
	}
	for i, host := range peers {
		_, port, _ := net.SplitHostPort(host)
		// the records' URLs are the members', since every member must derive the same IDs
		want, list := fmt.Sprintf(`"name":"n%d","peerURLs":["http://localhost:%s"]`, i, port), ""
		// A follower may apply the publication of another member a little later.
		for end := time.Now().Add(time.Minute); !strings.Contains(list, want); list = getPage(t, "http://"+hosts[0]+"/v2/members") {
			if time.Now().After(end) {
				t.Fatalf("n%d is not in %s", i, list)
			}
		}
	}

	members[2].signal(syscall.SIGTERM)
	if status, stderr := members[2].end(); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	run(2, dnstest.New(t).Addr).await(`serving .*client requests.* address=(\S+)`)
}

// TestDiscoverySRVOverTLS bootstraps two members from records of _etcd-server-ssl without
// --peer-trusted-ca-file: their certificates, which an authority of the system has signed, must be
// valid for the domain, and not for their hosts.
func TestDiscoverySRVOverTLS(t *testing.T) {
	ca, pkiDir := pki.NewAuthority(t, "ca"), t.TempDir()
	system := pki.Write(t, filepath.Join(pkiDir, "system.pem"), ca.PEM())
	domain := ca.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"example.com"}}).Write(t, pkiDir, "domain")
	host := ca.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"localhost"}}).Write(t, pkiDir, "host")
	bootstrap := func(files pki.Files) (members []*etcd) {
		peers := freeHosts(t, 2)
		records := []string{localhost}
		for _, peer := range peers {
			records = append(records, srv(t, "_etcd-server-ssl._tcp.example.com.", peer))
		}
		dns, dir := dnstest.New(t, records...), t.TempDir()
		for i, peer := range peers {
			members = append(members, start(t, dir, []string{dnsServer + "=" + dns.Addr, "SSL_CERT_FILE=" + system},
				"--name", fmt.Sprintf("n%d", i), "--discovery-srv", "example.com", "--peer-cert-file", files.Cert, "--peer-key-file", files.Key,
				"--listen-peer-urls", "https://"+peer, "--initial-advertise-peer-urls", "https://"+peer,
				"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1"))
		}
		return members
	}
	for _, m := range bootstrap(domain) {
		m.await("ready to serve client requests")
	}
	bootstrap(host)[0].await("certificate is valid for localhost, not example.com")
}

// TestDiscoveryFailures: nothing is written when no members are found.
func TestDiscoveryFailures(t *testing.T) {
	dns := dnstest.New(t, srv(t, "_etcd-server._tcp.example.com.", "127.0.0.1:1"), localhost)
	for domain, want := range map[string]string{
		"example.com": `etcd: --initial-advertise-peer-urls: http://localhost:2380 is none of the members in the SRV records of "example.com" (http://localhost:1): want the URL of one of them`,
		"example.org": `etcd: --discovery-srv: no members in the SRV records of "example.org" (`,
	} {
		dir := t.TempDir()
		p := start(t, dir, []string{dnsServer + "=" + dns.Addr}, anyPort("--discovery-srv", domain)...)
		if status, stderr := p.end(); status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d: %s", domain, status, stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, "default.etcd")); !os.IsNotExist(err) {
			t.Errorf("%s: the data directory: %v", domain, err)
		}
	}
}

// TestDiscoveryUnreachable: a member and a proxy that are stopped before the discovery service has
// responded name the service, and the error of the last attempt.
func TestDiscoveryUnreachable(t *testing.T) {
	const url = "http://127.0.0.1:1/v2/keys/token"
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"member":         {[]string{"--discovery", url}, `discovery: no response from http://127\.0\.0\.1:1/v2/keys/token: .*connection refused`},
		"proxy":          {[]string{"--proxy", "on", "--discovery", url}, `--discovery: discovery: no response from http://127\.0\.0\.1:1/v2/keys/token: .*connection refused`},
		"member, v3":     {[]string{"--discovery-token", "token", "--discovery-endpoints", "127.0.0.1:1"}, `discovery: no response from 127\.0\.0\.1:1: .*`},
		"proxy, v3":      {[]string{"--proxy", "on", "--discovery-token", "token", "--discovery-endpoints", "127.0.0.1:1"}, `--discovery-token: discovery: no response from 127\.0\.0\.1:1: .*`},
		"readonly proxy": {[]string{"--proxy", "readonly", "--discovery", url}, `--discovery: discovery: no response from http://127\.0\.0\.1:1/v2/keys/token: .*connection refused`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, t.TempDir(), nil, anyPort(append(c.args, "--discovery-request-timeout", "1s")...)...)
			p.await(`discovery service cannot be reached`)
			p.signal(syscall.SIGTERM)
			status, stderr := p.end()
			want := regexp.MustCompile(`(?m)^etcd: stopped by a signal.* before the members of the cluster were found: .*` + c.want)
			if status != 1 || !want.MatchString(stderr) || strings.Contains(stderr, "context canceled") {
				t.Errorf("status %d: %s; want %s", status, stderr, want)
			}
		})
	}
}

// TestDiscoveryService bootstraps three members that are configured with only the URL of a
// discovery service, which is another cluster; a fourth one is too late, and a member that has lost
// its data directory is refused.
func TestDiscoveryService(t *testing.T) {
	_, host := startReady(t, anyPort()...)
	service := "http://" + host + "/v2/keys/discovery/token"
	run := func(dir string, i int) *etcd {
		return start(t, dir, nil, "--name", fmt.Sprintf("n%d", i), "--discovery", service, "--discovery-fallback=exit",
			"--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", i+1),
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1")
	}
	refused := func(i int, want string) {
		t.Helper()
		dir := t.TempDir()
		status, stderr := run(dir, i).end()
		if status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("status %d: %s; want %s", status, stderr, want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	refused(0, "etcd: --discovery: discovery: size key not found")
	putValue(t, service+"/_config/size", "none")
	refused(0, "etcd: --discovery: discovery: size key is bad")
	putValue(t, service+"/_config/size", "3")

	waiting := run(t.TempDir(), 9)
	waiting.await(`discovery: waiting for members to register registered=1 size=3`)
	waiting.signal(syscall.SIGTERM)
	if status, stderr := waiting.end(); status != 1 || !strings.Contains(stderr, "etcd: stopped by a signal (terminated) before the members of the cluster were found: --discovery: discovery: 1 of 3 members have registered") {
		t.Errorf("status %d: %s", status, stderr)
	}
	refused(9, "etcd: --discovery: discovery: found duplicate id")

	a, b := run(t.TempDir(), 1), run(t.TempDir(), 2)
	for _, p := range []*etcd{a, b} {
		got := p.await(`discovery: found the members initial_cluster=(\S+)`)[1]
		for _, want := range []string{"n9=http://127.0.0.1:10", "n1=http://127.0.0.1:2", "n2=http://127.0.0.1:3"} {
			if !strings.Contains(got, want) {
				t.Errorf("found %s, want %s among them", got, want)
			}
		}
		p.await(`starting member `)
	}
	refused(3, "etcd: --discovery: discovery: cluster is full")

	// as in etcd, it becomes a proxy unless it must not
	proxied := start(t, t.TempDir(), nil, "--name", "n4", "--discovery", service, "--listen-peer-urls", "http://127.0.0.1:0",
		"--initial-advertise-peer-urls", "http://127.0.0.1:5", "--listen-client-urls", "http://127.0.0.1:0")
	proxied.await(`discovery: the cluster is full: falling back to a proxy`)
	proxied.await(`proxy: cannot find the members of the cluster`) // their addresses are made up
	proxied.signal(syscall.SIGTERM)
	if status, stderr := proxied.end(); status != 0 {
		t.Errorf("the proxy: status %d: %s", status, stderr)
	}
}

func putValue(t *testing.T, key, value string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, key+"?value="+value, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s", key, resp.Status)
	}
}
