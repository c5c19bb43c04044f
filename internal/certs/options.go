package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Options name the files of one role and the checks on certificates.
type Options struct {
	Role string // "client" or "peer": the port that the certificates are for

	CertFile, KeyFile string // the server's certificate; also the client's when dialing
	// the client's certificate when dialing, in place of CertFile and KeyFile
	ClientCertFile, ClientKeyFile string
	// NoClientCommonName rejects a ClientCertFile with a common name, also one that replaces it.
	NoClientCommonName bool
	TrustedCAFile      string // trusted authorities; makes a server request client certificates
	CRLFile            string // revocation lists, PEM or DER
	// without TrustedCAFile, the system's authorities are trusted
	RequireClientCert bool

	AllowedCNs []string // the remote end must have one of these common names
	// the remote end's certificate must be valid for one of these host names
	AllowedHostnames []string
	// client certificates with subject alternative names must come from one of them
	CheckClientSAN bool

	// ServerName is the name for which a dialed server's certificate must be valid, instead of the
	// host's: the domain whose SRV records name the servers.
	ServerName string

	// AdvertisedHosts are the hosts under which others connect to the server, by IP address or
	// name: a warning is logged if no certificate is valid for one of them.
	AdvertisedHosts []string

	// SelfSigned is set when CertFile is self-signed: then a dialed server's chain is not checked.
	SelfSigned bool

	CipherSuites           []uint16 // of TLS 1.2; nil means Go's choice
	MinVersion, MaxVersion uint16   // 0 means TLS 1.2, and the newest

	Logger   *slog.Logger     // may be nil
	Now      func() time.Time // nil means time.Now
	Resolver Resolver         // for CheckClientSAN; nil means the system's
}

// Resolver resolves names and addresses. *net.Resolver implements it.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupAddr(ctx context.Context, address string) ([]string, error)
}

// Empty reports whether the options name no certificate, so that TLS cannot be served.
func (o *Options) Empty() bool { return o.CertFile == "" && o.KeyFile == "" }

// Check returns an error when options contradict each other. Its texts begin with etcd's.
func (o *Options) Check() error {
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return fmt.Errorf("KeyFile and CertFile must both be present[key: %s, cert: %s]", o.KeyFile, o.CertFile)
	case (o.ClientCertFile == "") != (o.ClientKeyFile == ""):
		return fmt.Errorf("ClientKeyFile and ClientCertFile must both be present or both absent: key: %s, cert: %s]", o.ClientKeyFile, o.ClientCertFile)
	case len(o.AllowedCNs) > 0 && len(o.AllowedHostnames) > 0:
		return fmt.Errorf("AllowedCN and AllowedHostname are mutually exclusive (cn=%q, hostname=%q)", o.AllowedCNs, o.AllowedHostnames)
	}
	return CheckVersions(o.MinVersion, o.MaxVersion, o.CipherSuites)
}

// versions maps etcd's names of TLS versions.
var versions = map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

// ParseVersion parses a version of TLS; an empty text is 0.
func ParseVersion(text string) (uint16, error) {
	v, ok := versions[text]
	if !ok {
		return 0, fmt.Errorf("unexpected TLS version %q (must be one of: TLS1.2, TLS1.3)", text)
	}
	return v, nil
}

// CheckVersions returns an error when the versions and cipher suites contradict each other.
func CheckVersions(low, high uint16, suites []uint16) error {
	switch {
	case high != 0 && low > high:
		return fmt.Errorf("min version (%s) is greater than max version (%s)", tls.VersionName(low), tls.VersionName(high))
	case low == tls.VersionTLS13 && len(suites) > 0:
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	return nil
}

// ParseCipherSuites parses names of cipher suites, as in RFC 5246 and as Go lists them.
func ParseCipherSuites(names []string) ([]uint16, error) {
	known := map[string]uint16{}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.Name] = s.ID
	}
	// the names before RFC 7905
	known["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"] = tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	known["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"] = tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	var ids []uint16
	for _, name := range names {
		name = strings.TrimSpace(name)
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("unexpected TLS cipher suite %q", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS12
	}
}
