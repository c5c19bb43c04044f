package tls_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"cairn/test/harness"
)

// TestOtherClients runs curl and Debian's etcdctl, in both dialects, over mutual TLS.
func TestOtherClients(t *testing.T) {
	c := makeCertificates(t)
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, append(c.mutual(""), "--listen-metrics-urls", "https://"+m.metrics)...)
	m.await(t, ready)
	f := c.shown["right"].Write(t, c.dir, "client")
	url := "https://" + m.client
	for _, line := range []struct{ env, line, want string }{
		{"", "curl -sS --http1.1 --cacert CA --cert CRT --key KEY URL/v2/keys/a -XPUT -d value=1", `"action":"set"`},
		{"", "curl -sS --http2 --cacert CA --cert CRT --key KEY URL/v2/keys/a", `"value":"1"`},
		{"", `curl -sS --http2 --cacert CA --cert CRT --key KEY URL/v3/kv/range -d {"key":"L2E="}`, `"count":"1"`},
		{"", "curl -sS --cacert CA --cert CRT --key KEY https://" + m.metrics + "/metrics", "cairn_certificate_expiry_timestamp_seconds{"},
		{"", "curl -sS --cacert CA --cert CRT --key KEY https://" + m.metrics + "/metrics", "cairn_crl_next_update_timestamp_seconds{"},
		{"ETCDCTL_API=3", "/usr/bin/etcdctl --endpoints URL --cacert CA --cert CRT --key KEY get /a", "/a\n1\n"},
		{"ETCDCTL_API=2", "/usr/bin/etcdctl --timeout 30s --total-timeout 60s --endpoints URL --ca-file CA --cert-file CRT --key-file KEY get /a", "1\n"},
	} {
		words := strings.Fields(strings.NewReplacer("CA", c.caFile, "CRT", f.Cert, "KEY", f.Key, "URL", url).Replace(line.line))
		if words[0] == "/usr/bin/etcdctl" {
			harness.Needs(t, words[0], "etcd-client")
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(append(os.Environ(), harness.Patience...), "no_proxy=*", line.env)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), line.want) {
			t.Errorf("%s %s: %v\n%s", line.env, line.line, err, out)
		}
	}
}

// TestPython runs python3-etcd (v2) and python3-etcd3 over mutual TLS.
func TestPython(t *testing.T) {
	harness.Needs(t, "/usr/bin/python3", "python3-etcd")
	c := makeCertificates(t)
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, c.mutual("")...)
	m.await(t, ready)
	f := c.shown["right"].Write(t, c.dir, "client")
	port := strings.TrimPrefix(m.client, "127.0.0.1:")
	for module, script := range map[string]string{
		// urllib3 needs idna for names in certificates; Debian's package only recommends it
		"etcd, idna": "import etcd\nc = etcd.Client(host='localhost', port=PORT, protocol='https', ca_cert='CA', cert=('CRT', 'KEY'))\n" +
			"c.write('/a', '1')\nprint(c.read('/a').value)",
		"etcd3": "import etcd3\nc = etcd3.client(host='localhost', port=PORT, ca_cert='CA', cert_cert='CRT', cert_key='KEY')\n" +
			"c.put('/b', '1')\nprint(c.get('/b')[0].decode())",
	} {
		if exec.Command("/usr/bin/python3", "-c", "import "+module).Run() != nil {
			t.Logf("python3 has no module %s here", module)
			continue
		}
		script = strings.NewReplacer("PORT", port, "CA", c.caFile, "CRT", f.Cert, "KEY", f.Key).Replace(script)
		if out, err := exec.Command("/usr/bin/python3", "-c", script).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
			t.Errorf("%s: %v\n%s", module, err, out)
		}
	}
}
