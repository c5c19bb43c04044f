package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cairn/test/dnstest"
	"cairn/test/harness"
)

// dnsServer is the variable with the DNS server, HOST:PORT, that etcdctl uses in a script.
const dnsServer = "CAIRN_TEST_DNS"

// TestDiscoverySRV runs testdata/srv: both dialects find a server of ours by its SRV records.
func TestDiscoverySRV(t *testing.T) {
	server := harness.Etcd(t)
	ours, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "srv"),
		Setup: func(env *testscript.Env) error {
			_, port, err := net.SplitHostPort(strings.TrimPrefix(startSide(t, server, ours).client, "http://"))
			if err != nil {
				return err
			}
			record := func(service, domain string) string {
				return fmt.Sprintf("_%s._tcp.%s. IN SRV 0 0 %s m1.%s.", service, domain, port, domain)
			}
			dns := dnstest.New(t,
				record("etcd-client", "plain.test"), record("etcd-client-two", "plain.test"), "m1.plain.test. IN A 127.0.0.1",
				record("etcd-client-ssl", "secure.test"), "m1.secure.test. IN A 127.0.0.1")
			env.Setenv(dnsServer, dns.Addr)
			env.Setenv("HOME", env.WorkDir)
			patientClient(env)
			return nil
		},
	})
}
