// Package tls_test runs clients and members over TLS against the built `etcd`: every way to secure
// a port, every dialect, every kind of certificate.
package tls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"cairn/test/pki"
)

var quiet = zap.NewNop()

// shown is a client's certificate: what is wrong with it, if something is.
type shown string

const (
	right       shown = "right"
	expired     shown = "expired"
	notYetValid shown = "not yet valid"
	wrongCA     shown = "wrong CA"
	revoked     shown = "revoked"
	wrongCN     shown = "wrong CN"
	wrongSAN    shown = "wrong SAN"
	none        shown = "none"
)

var everything = []shown{right, expired, notYetValid, wrongCA, revoked, wrongCN, wrongSAN, none}

// refusal is what a refused client gets, and the reason that the member logs.
type refusal struct{ client, log string }

// Refusals that the client port and the peer port have in common. The alerts are those of TLS.
var refusals = map[shown]refusal{
	expired:     {"tls: expired certificate", "the client's certificate has expired"},
	notYetValid: {"tls: expired certificate", "the client's certificate is not valid yet"},
	wrongCA:     {"tls: unknown certificate authority", "the client's certificate is signed by an authority that this server does not trust"},
	revoked:     {"tls: bad certificate", "the client's certificate is revoked: serial number"},
	none:        {"tls: certificate required", "the client sent no certificate"},
}

// matrix are the ways to secure a port, and what becomes of clients: every certificate that is not
// in refused is accepted.
var matrix = map[string]struct {
	scheme       string
	client, peer func(*authority) []string // flags
	refused      map[shown]refusal         // by both ports
	onClient     map[shown]refusal         // by the client port alone
	onPeer       map[shown]refusal         // by the peer port alone
}{
	"plain": {scheme: "http"},
	"TLS": {
		scheme: "https",
		client: func(a *authority) []string { return a.flags("") },
		peer:   func(a *authority) []string { return a.flags("peer-") },
	},
	"mutual": {
		scheme: "https",
		client: func(a *authority) []string {
			return append(a.mutual(""), "--client-crl-file", a.crl, "--client-cert-allowed-hostname", "localhost")
		},
		peer: func(a *authority) []string {
			return append(a.mutual("peer-"), "--peer-crl-file", a.crl, "--peer-cert-allowed-cn", "member")
		},
		refused: refusals,
		onClient: map[shown]refusal{
			wrongSAN: {"tls: bad certificate", `none of the allowed names: it is for 10.9.8.7, want \"localhost\"`},
		},
		onPeer: map[shown]refusal{
			wrongSAN: {"tls: bad certificate", "is not for this address: it is for 10.9.8.7, and comes from 127."},
			wrongCN:  {"tls: bad certificate", `none of the allowed names: its common name is \"stranger\", want \"member\"`},
		},
	},
	"auto": {
		scheme: "https",
		client: func(*authority) []string { return []string{"--auto-tls"} },
		peer:   func(*authority) []string { return []string{"--peer-auto-tls"} },
	},
}

// TestMatrix is {plain, TLS, mutual, auto} × {client port, peer port} × {gRPC, v2, JSON, metrics} ×
// certificates: whether the client is served, what it gets otherwise, and what the member logs.
// Each client has an address of its own, since a member logs once for each address and minute.
func TestMatrix(t *testing.T) {
	a := newAuthority(t)
	addresses := 0
	for name, kind := range matrix {
		m := newMember(t, "m")
		var flags []string
		for _, of := range []func(*authority) []string{kind.client, kind.peer} {
			if of != nil {
				flags = append(flags, of(a)...)
			}
		}
		m.start(t, t.TempDir(), kind.scheme, kind.scheme, []*member{m}, flags...)
		m.await(t, ready)
		for port, asks := range map[string]map[string]ask{"client": clientAsks, "peer": peerAsks} {
			for api, ask := range asks {
				for _, s := range everything {
					addresses++
					c := caller{from: net.IPv4(127, 1, byte(addresses>>8), byte(addresses)), scheme: kind.scheme, to: m.client}
					own := kind.onClient
					if port == "peer" {
						c.to, own = m.peer, kind.onPeer
					}
					c.config = a.clientOf(t, s, c.from, name == "auto")
					want, refused := own[s]
					if !refused {
						want, refused = kind.refused[s]
					}
					err := c.try(ask)
					switch where := fmt.Sprintf("%s, %s port, %s, %s", name, port, api, s); {
					case refused && (err == nil || !strings.Contains(err.Error(), want.client)):
						t.Errorf("%s: %v, want an error with %q", where, err, want.client)
					case refused:
						m.awaitReason(t, where, c.from, want.log)
					case err != nil:
						t.Errorf("%s: %v", where, err)
					}
				}
			}
		}
		wrongScheme(t, name, kind.scheme, m)
	}
}

// wrongScheme connects clients without TLS to a member with TLS, and the reverse: they get an error
// that says so.
func wrongScheme(t *testing.T, name, scheme string, m *member) {
	t.Helper()
	// the handshake must not fail for another reason
	anyServer := &tls.Config{InsecureSkipVerify: true} //nolint:gosec
	for api, ask := range clientAsks {
		c := caller{from: net.IPv4(127, 0, 0, 1), scheme: "http", to: m.client}
		want := "speaks TLS: use https:// instead of http://"
		if scheme == "http" {
			c.scheme, c.config, want = "https", anyServer, "gave HTTP response to HTTPS client"
		}
		switch {
		case api == "gRPC" && scheme == "http":
			want = "first record does not look like a TLS handshake"
		case api == "gRPC":
			want = "the connection is draining" // GOAWAY, whose text gRPC does not show
		}
		if err := c.try(ask); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %s over %s: %v, want an error with %q", name, api, c.scheme, err, want)
		}
	}
}

// awaitReason waits for the line about a rejected connection from an address.
func (m *member) awaitReason(t *testing.T, where string, from net.IP, reason string) {
	t.Helper()
	about := func() string {
		for line := range strings.Lines(m.log.String()) {
			if strings.Contains(line, "rejected connection") && strings.Contains(line, from.String()+":") {
				return line
			}
		}
		return ""
	}
	for end := time.Now().Add(time.Minute); about() == "" && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if line := about(); !strings.Contains(line, reason) {
		t.Errorf("%s: the log has %q, want %q", where, line, reason)
	}
}

// caller is a client with an address of its own.
type caller struct {
	from       net.IP
	scheme, to string
	config     *tls.Config // nil over http
}

func (c *caller) dial(ctx context.Context, _, to string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: c.from}}).DialContext(ctx, "tcp", to)
}

func (c *caller) try(a ask) error {
	ctx, cancel := within(time.Minute)
	defer cancel()
	return a(ctx, c)
}

// ask sends one request, and returns an error unless it is answered.
type ask func(ctx context.Context, c *caller) error

var clientAsks = map[string]ask{
	"gRPC":    askGRPC,
	"v2":      askHTTP(http.MethodPut, "/v2/keys/a?value=1", ""),
	"JSON":    askHTTP(http.MethodPost, "/v3/kv/range", `{"key":"YQ=="}`),
	"metrics": askHTTP(http.MethodGet, "/metrics", ""),
}

var peerAsks = map[string]ask{"version": askHTTP(http.MethodGet, "/version", "")}

func askGRPC(ctx context.Context, c *caller) error {
	security := insecure.NewCredentials()
	if c.scheme == "https" {
		security = credentials.NewTLS(c.config)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.to, grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return c.dial(ctx, "", to) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	return err
}

func askHTTP(method, path, body string) ask {
	return func(ctx context.Context, c *caller) error {
		// over HTTP/2, net/http hides why a connection could not be established
		transport := &http.Transport{TLSClientConfig: c.config, DialContext: c.dial}
		defer transport.CloseIdleConnections()
		return sendHTTP(ctx, transport, method, c.scheme+"://"+c.to+path, body)
	}
}

// sendHTTP sends a request over HTTP, and returns an error unless it succeeds.
func sendHTTP(ctx context.Context, transport http.RoundTripper, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return err
}

// authority makes the certificates of the matrix.
type authority struct {
	ca, other *pki.Authority
	caFile    string
	server    pki.Files
	gone      pki.Pair // revoked
	crl       string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir, ca := t.TempDir(), pki.NewAuthority(t, "ca")
	hosts := []string{"127.0.0.1", "localhost"}
	gone := ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts})
	return &authority{
		ca: ca, other: pki.NewAuthority(t, "other"), caFile: pki.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM()),
		server: ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}).Write(t, dir, "server"),
		gone:   gone, crl: pki.Write(t, filepath.Join(dir, "crl"), ca.Revoke(t, gone.Cert)),
	}
}

func (a *authority) flags(prefix string) []string {
	return []string{"--" + prefix + "cert-file", a.server.Cert, "--" + prefix + "key-file", a.server.Key}
}

func (a *authority) mutual(prefix string) []string {
	return append(a.flags(prefix), "--"+prefix+"trusted-ca-file", a.caFile, "--"+prefix+"client-cert-auth")
}

// clientOf is the configuration of a client that comes from an address.
func (a *authority) clientOf(t *testing.T, s shown, from net.IP, anyServer bool) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.ca.Cert)
	// --auto-tls has no authority
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, InsecureSkipVerify: anyServer} //nolint:gosec
	pair, now := a.gone, time.Now()
	spec := pki.Spec{CommonName: "member", Hosts: []string{from.String(), "localhost"}}
	switch s {
	case none:
		return config
	case expired:
		spec.NotAfter = now.Add(-time.Minute)
	case notYetValid:
		spec.NotBefore = now.Add(time.Hour)
	case wrongCN:
		spec.CommonName = "stranger"
	case wrongSAN:
		spec.Hosts = []string{"10.9.8.7"}
	}
	switch s {
	case revoked:
	case wrongCA:
		pair = a.other.Issue(t, spec)
	default:
		pair = a.ca.Issue(t, spec)
	}
	// whatever the server requests, as a malicious client would
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{pair.Cert.Raw}, PrivateKey: pair.Key}, nil
	}
	return config
}
