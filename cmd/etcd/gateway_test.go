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
	"cairn/test/pki"
)

// startReady starts a member and returns the address that it serves clients on.
func startReady(t *testing.T, args ...string) (p *etcd, host string) {
	t.Helper()
	p = start(t, t.TempDir(), nil, args...)
	return p, p.await(`serving .*client requests.* address=(\S+)`)[1]
}

// srv is a record of a domain for a server on this machine.
func srv(t *testing.T, name, host string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s IN SRV 0 0 %s localhost.", name, port)
}

const localhost = "localhost. IN A 127.0.0.1"

// TestGateway writes and reads through a gateway that finds the member by each kind of flag, and
// stops it while a long poll is in progress, which completes.
func TestGateway(t *testing.T) {
	_, host := startReady(t, anyPort()...)
	dns := dnstest.New(t, srv(t, "_etcd-client._tcp.example.com.", host), srv(t, "_etcd-client-two._tcp.example.com.", host), localhost)
	for _, flags := range [][]string{
		{"--endpoints", host},
		{"--endpoints=http://127.0.0.1:1,http://" + host},
		{"--discovery-srv=example.com", "--insecure-discovery"},
		{"--discovery-srv=example.com", "--insecure-discovery", "--discovery-srv-name=two"},
	} {
		args := append([]string{"gateway", "start", "--listen-addr", "127.0.0.1:0"}, flags...)
		gateway := start(t, t.TempDir(), []string{dnsServer + "=" + dns.Addr}, args...)
		keys := "http://" + gateway.await(`ready.* listen_addr=(\S+)`)[1] + "/v2/keys/gateway"
		set := func(at string) {
			t.Helper()
			req, err := http.NewRequest(http.MethodPut, at+"?value=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Close = true // an idle connection would keep the gateway from ending
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(flags, err)
			}
			resp.Body.Close()
			if resp.StatusCode/100 != 2 {
				t.Fatalf("%v: %s", flags, resp.Status)
			}
		}
		set(keys)

		poll, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(keys, "http://"), "/v2/keys/gateway"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { poll.Close() })
		// the connection reaches the member before the gateway stops
		if _, err := io.WriteString(poll, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(poll, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(poll, "GET /v2/keys/gateway?wait=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		gateway.signal(syscall.SIGTERM)
		gateway.await(`shutting down.* signal=terminated`)
		answer := make(chan string)
		go func() {
			all, _ := io.ReadAll(poll)
			answer <- string(all)
		}()
		var got string
		for got == "" { // the poll may begin after a write
			select {
			case got = <-answer:
			default:
				set("http://" + host + "/v2/keys/gateway")
			}
		}
		if !strings.Contains(got, `"action":"set"`) {
			t.Errorf("%v: the long poll got %q", flags, got)
		}
		poll.Close()
		if status, stderr := gateway.end(); status != 0 {
			t.Errorf("%v: status %d: %s", flags, status, stderr)
		}
	}
}

// TestGatewayChecksCertificates: with --trusted-ca-file an endpoint of the SRV records is used only
// when its certificate is valid for the domain.
func TestGatewayChecksCertificates(t *testing.T) {
	dir := t.TempDir()
	authority := filepath.Join(dir, "ca.crt")
	ca := pki.NewAuthority(t, "ca")
	pki.Write(t, authority, ca.PEM())
	cert := ca.Issue(t, pki.Spec{CommonName: "server", Hosts: []string{"127.0.0.1", "example.com"}})
	pki.Write(t, filepath.Join(dir, "server.crt"), cert.CertPEM)
	pki.Write(t, filepath.Join(dir, "server.key"), cert.KeyPEM)
	_, host := startReady(t, "--listen-client-urls", "https://127.0.0.1:0", "--advertise-client-urls", "https://127.0.0.1:1",
		"--listen-peer-urls", "http://127.0.0.1:0",
		"--cert-file", filepath.Join(dir, "server.crt"), "--key-file", filepath.Join(dir, "server.key"))
	dns := dnstest.New(t, srv(t, "_etcd-client-ssl._tcp.example.com.", host), srv(t, "_etcd-client-ssl._tcp.example.org.", host), localhost)
	run := func(domain string) *etcd {
		return start(t, dir, []string{dnsServer + "=" + dns.Addr}, "gateway", "start", "--listen-addr", "127.0.0.1:0",
			"--discovery-srv", domain, "--trusted-ca-file", authority)
	}
	run("example.com").await(`ready.* listen_addr=`)
	status, stderr := run("example.org").end()
	if want := `has a certificate that --trusted-ca-file confirms for that domain`; status != 1 || !strings.Contains(stderr, want) ||
		!strings.Contains(stderr, "endpoint in the SRV records is not used") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

func TestGatewayUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 0, "etcd gateway start [flags]"},
		{[]string{"start", "--help"}, 0, "--retry-delay"},
		{[]string{"stop"}, 1, `unexpected argument "stop": want etcd gateway start [flags]`},
		{[]string{"start", "now"}, 1, `unexpected argument "now"`},
		{[]string{"start", "--bogus"}, 1, "unknown flag: --bogus"},
		{[]string{"start", "--endpoints", "localhost"}, 1, `--endpoints: "localhost" is not an endpoint: want HOST:PORT`},
		{[]string{"start", "--endpoints", "localhost:x"}, 1, `--endpoints: "localhost:x" is not an endpoint`},
		{[]string{"start", "--endpoints="}, 1, "--endpoints: is empty"},
		{[]string{"start", "--retry-delay", "0s"}, 1, "--retry-delay: retry delay is 0s: want more than 0"},
		{[]string{"start", "--listen-addr", "nonsense"}, 1, "--listen-addr: "},
	} {
		var out, errs strings.Builder
		status := runGateway(t.Context(), c.args, streams{&out, &errs}, make(chan os.Signal))
		if got := out.String() + errs.String(); status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%q: status %d: %s", c.args, status, got)
		}
	}
}
