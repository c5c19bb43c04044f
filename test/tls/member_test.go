package tls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
	"cairn/test/pki"
	"cairn/test/process"
)

func TestMain(m *testing.M) { harness.Main(m) }

// member is a running server whose flags are all set by the test.
type member struct {
	name, client, peer, metrics string // addresses without a scheme
	log                         harness.Buffer
	proc                        *process.Process
}

func newMember(t *testing.T, name string) *member {
	t.Helper()
	return &member{name: name, client: "127.0.0.1:" + harness.FreePort(t), peer: "127.0.0.1:" + harness.FreePort(t), metrics: "127.0.0.1:" + harness.FreePort(t)}
}

// start runs a member of a cluster with a scheme for clients and one for peers.
func (m *member) start(t *testing.T, dir, clientScheme, peerScheme string, cluster []*member, flags ...string) {
	t.Helper()
	var initial []string
	for _, other := range cluster {
		initial = append(initial, other.name+"="+peerScheme+"://"+other.peer)
	}
	args := append([]string{
		"--name", m.name, "--data-dir", filepath.Join(dir, m.name),
		"--listen-client-urls", clientScheme + "://" + m.client, "--advertise-client-urls", clientScheme + "://" + m.client,
		"--listen-peer-urls", peerScheme + "://" + m.peer, "--initial-advertise-peer-urls", peerScheme + "://" + m.peer,
		"--initial-cluster", strings.Join(initial, ","), "--unsafe-no-fsync",
	}, flags...)
	cmd := exec.Command(harness.Etcd(t), args...)
	cmd.Stdout, cmd.Stderr = &m.log, &m.log
	proc, err := process.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	m.proc = proc
	t.Cleanup(func() {
		_ = proc.Signal(syscall.SIGTERM)
		<-proc.Exited()
		if t.Failed() {
			t.Logf("log of %s:\n%s", m.name, m.log.String())
		}
	})
}

// await waits for a line in the log.
func (m *member) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(m.log.String(), text); {
		select {
		case <-m.proc.Exited():
			t.Fatalf("%s ended before it logged %q:\n%s", m.name, text, m.log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not logged %q:\n%s", m.name, text, m.log.String())
		}
	}
}

const ready = "ready to serve client requests"

// refusedAfter is how long a gRPC client, which retries, is watched until it counts as refused.
const refusedAfter = time.Second

// apis send a request to a member through each of its dialects. They return an error unless it
// succeeds.
var apis = map[string]func(ctx context.Context, scheme, address string, config *tls.Config) error{
	"gRPC": func(ctx context.Context, scheme, address string, config *tls.Config) error {
		if scheme == "http" {
			config = nil
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{scheme + "://" + address}, TLS: config, Logger: quiet})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Get(ctx, "a")
		return err
	},
	"v2":      overHTTP(http.MethodPut, "/v2/keys/a?value=1", ""),
	"JSON":    overHTTP(http.MethodPost, "/v3/kv/range", `{"key":"YQ=="}`),
	"metrics": overHTTP(http.MethodGet, "/metrics", ""),
}

func overHTTP(method, path, body string) func(context.Context, string, string, *tls.Config) error {
	return func(ctx context.Context, scheme, address string, config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		return sendHTTP(ctx, transport, method, scheme+"://"+address+path, body)
	}
}

// certificates are the kinds that a client or a member may present.
type certificates struct {
	dir    string
	ca     *pki.Authority
	caFile string
	server pki.Files
	crl    string
	shown  map[string]pki.Pair
}

func makeCertificates(t *testing.T) *certificates {
	t.Helper()
	dir, ca, now := t.TempDir(), pki.NewAuthority(t, "ca"), time.Now()
	hosts := []string{"127.0.0.1", "localhost"}
	revoked := ca.Issue(t, pki.Spec{CommonName: "root", Hosts: hosts})
	return &certificates{
		dir: dir, ca: ca, caFile: pki.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM()),
		server: ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}).Write(t, dir, "server"),
		crl:    pki.Write(t, filepath.Join(dir, "crl"), ca.Revoke(t, revoked.Cert)),
		shown: map[string]pki.Pair{
			"right":         ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}),
			"expired":       ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts, NotAfter: now.Add(-time.Minute)}),
			"not yet valid": ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts, NotBefore: now.Add(time.Hour)}),
			"wrong CA":      pki.NewAuthority(t, "other").Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}),
			"revoked":       revoked,
			"wrong CN":      ca.Issue(t, pki.Spec{CommonName: "stranger", Hosts: hosts}),
			"wrong SAN":     ca.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"10.9.8.7"}}),
		},
	}
}

// client is the configuration of a client that trusts the authority and presents a certificate; ""
// means none.
func (c *certificates) client(kind string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(c.ca.Cert)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if p, ok := c.shown[kind]; ok {
		// whatever the server requests, as a malicious client would
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}, nil
		}
	}
	return config
}

func (c *certificates) flags(prefix string) []string {
	return []string{"--" + prefix + "cert-file", c.server.Cert, "--" + prefix + "key-file", c.server.Key}
}

func (c *certificates) mutual(prefix string) []string {
	crl := "--peer-crl-file"
	if prefix == "" {
		crl = "--client-crl-file"
	}
	return append(c.flags(prefix), "--"+prefix+"trusted-ca-file", c.caFile, "--"+prefix+"client-cert-auth", crl, c.crl)
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
