package main

import (
	"os"
	"strings"
	"testing"

	"cairn/test/pki"
)

// TestConfigCheck is `etcd config check`: it prints the effective configuration, reports errors as
// a start does, and binds and writes nothing.
func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	files := pki.NewAuthority(t, "ca").Issue(t, pki.Spec{Hosts: []string{"a"}}).Write(t, dir, "server")
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"--name", "n1", "--quota-backend-bytes=2GiB"}, 0, "name: \"n1\" # --name\n", ""},
		{[]string{"--max-wals", "9"}, 0, "data-dir: \"default.etcd\"\n", "etcd: warning: --max-wals: setting has no effect (cairn truncates its log itself)"},
		{[]string{"--bogus"}, 2, "", "etcd: unknown flag --bogus; see etcd --help"},
		{[]string{"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://a:1", "--cert-file", files.Cert, "--key-file", files.Key}, 0, "cert-file: ", ""},
		{
			[]string{"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://b:1", "--cert-file", files.Cert, "--key-file", files.Key},
			0, "cert-file: ", "etcd: warning: the certificate is not valid for an advertised host: clients that connect to it will reject the certificate (role=client file=" +
				files.Cert + " host=b valid_for=a)",
		},
		{[]string{"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://a:1", "--cert-file", files.Key, "--key-file", files.Key}, 1, "", "no certificate in it"},
	} {
		p := start(t, dir, nil, append([]string{"config", "check"}, c.args...)...)
		status, stderr := p.end()
		if status != c.status || !strings.Contains(p.stdout.String(), c.stdout) || !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
			t.Errorf("%q: status %d\n%s\n%s", c.args, status, p.stdout.String(), stderr)
		}
	}
	if _, err := os.Stat(dir + "/default.etcd"); err == nil {
		t.Error("a data directory was made")
	}
}
