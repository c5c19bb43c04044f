package config

import (
	"fmt"
	"strconv"
	"strings"

	"cairn/internal/certs"
)

// TLS has the TLS settings of a port.
type TLS struct {
	certs.Options

	Auto bool // make a self-signed certificate if none is given
}

// FileFlags returns the flags whose files are used.
func (t *TLS) FileFlags(prefix string) (flags []string) {
	for _, f := range []struct{ name, path string }{
		{prefix + "cert-file", t.CertFile},
		{prefix + "key-file", t.KeyFile},
		{prefix + "client-cert-file", t.ClientCertFile},
		{prefix + "client-key-file", t.ClientKeyFile},
		{prefix + "trusted-ca-file", t.TrustedCAFile},
		{crlName(prefix), t.CRLFile},
	} {
		if f.path != "" {
			flags = append(flags, "--"+f.name)
		}
	}
	return flags
}

// tlsOptions returns the options of one port; prefix is "" for the clients' and "peer-" for the
// other members'.
func tlsOptions(prefix, port string, of func(*Config) *TLS) []option {
	file := func(name, usage string, to func(*TLS) *string) option {
		return option{prefix + name, "Security", "PATH", "", usage, func(c *Config, v string) error { *to(of(c)) = v; return nil }}
	}
	flag := func(name, usage string, to func(*TLS) *bool) option {
		return option{prefix + name, "Security", "", "false", usage, func(c *Config, v string) error { return setBool(to(of(c)), v) }}
	}
	dialed := "certificate shown when dialing members, if it is not --peer-cert-file"
	if prefix == "" {
		dialed = "certificate for connections of a member to itself, which cairn does not make; accepted because etcd has it"
	}
	return []option{
		file("cert-file", "certificate, with its chain, of the "+port+" port; several with their keys are chosen from by host name", func(t *TLS) *string { return &t.CertFile }),
		file("key-file", "private key of "+"--"+prefix+"cert-file", func(t *TLS) *string { return &t.KeyFile }),
		file("trusted-ca-file", "authorities whose certificates are accepted on the "+port+" port, where a certificate is then required", func(t *TLS) *string { return &t.TrustedCAFile }),
		flag("client-cert-auth", "require a certificate on the "+port+" port", func(t *TLS) *bool { return &t.RequireClientCert }),
		file(crlName(prefix), "revoked certificates, as PEM or DER", func(t *TLS) *string { return &t.CRLFile }),
		file("client-cert-file", dialed, func(t *TLS) *string { return &t.ClientCertFile }),
		file("client-key-file", "private key of --"+prefix+"client-cert-file", func(t *TLS) *string { return &t.ClientKeyFile }),
		flag("auto-tls", "make a self-signed certificate for the "+port+" port", func(t *TLS) *bool { return &t.Auto }),
	}
}

func crlName(prefix string) string {
	if prefix == "" {
		return "client-crl-file"
	}
	return "crl-file"
}

func clientTLS(c *Config) *TLS { return &c.ClientTLS }
func peerTLS(c *Config) *TLS   { return &c.PeerTLS }

var securityOptions = append(append(tlsOptions("", "client", clientTLS), tlsOptions("peer-", "peer", peerTLS)...), []option{
	{
		"client-cert-allowed-hostname", "Security", "NAME[,NAME…]", "", "host names, for one of which a client's certificate must be valid",
		func(c *Config, v string) error { return setNames(&c.ClientTLS.AllowedHostnames, v) },
	},
	{
		"peer-cert-allowed-cn", "Security", "NAME[,NAME…]", "", "common names, of which a member's certificate must have one",
		func(c *Config, v string) error { return setNames(&c.PeerTLS.AllowedCNs, v) },
	},
	{
		"peer-cert-allowed-hostname", "Security", "NAME[,NAME…]", "", "host names, for one of which a member's certificate must be valid",
		func(c *Config, v string) error { return setNames(&c.PeerTLS.AllowedHostnames, v) },
	},
	{
		"peer-skip-client-san-verification", "Security", "", "false", "accept a member's certificate from any address, whatever its subject alternative names",
		func(c *Config, v string) error { return setBool(&c.skipPeerSAN, v) },
	},
	{
		"self-signed-cert-validity", "Security", "YEARS", "1", "validity of certificates that --auto-tls and --peer-auto-tls make",
		func(c *Config, v string) error { return setYears(&c.SelfSignedYears, v) },
	},
	{
		"cipher-suites", "Security", "NAME[,NAME…]", "", "cipher suites of TLS 1.2; without it Go's choice",
		func(c *Config, v string) error { return setNames(&c.cipherSuites, v) },
	},
	{
		"tls-min-version", "Security", "TLS1.2|TLS1.3", "TLS1.2", "least version of TLS",
		func(c *Config, v string) error { c.tlsMin = v; return nil },
	},
	{
		"tls-max-version", "Security", "TLS1.2|TLS1.3", "", "greatest version of TLS; without it the newest",
		func(c *Config, v string) error { c.tlsMax = v; return nil },
	},
	{
		"ca-file", "Security", "PATH", "", "etcd 3.1's name of --trusted-ca-file with --client-cert-auth", nil,
	},
	{
		"peer-ca-file", "Security", "PATH", "", "etcd 3.1's name of --peer-trusted-ca-file with --peer-client-cert-auth", nil,
	},
}...)

func setYears(to *uint, v string) error {
	n, err := strconv.ParseUint(v, 10, 10)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number of years: want 1 to 1023", v)
	}
	*to = uint(n)
	return nil
}

// completeTLS checks the options about TLS against each other.
func (c *Config) completeTLS(chosen map[string]setting) error {
	low, err := certs.ParseVersion(c.tlsMin)
	if err != nil {
		return settingOf(chosen, "tls-min-version").wrap(err)
	}
	high, err := certs.ParseVersion(c.tlsMax)
	if err != nil {
		return settingOf(chosen, "tls-max-version").wrap(err)
	}
	suites, err := certs.ParseCipherSuites(c.cipherSuites)
	if err != nil {
		return settingOf(chosen, "cipher-suites").wrap(err)
	}
	if err := certs.CheckVersions(low, high, suites); err != nil {
		return errorAt("--tls-min-version, --tls-max-version, --cipher-suites", err)
	}
	c.PeerTLS.CheckClientSAN = !c.skipPeerSAN
	for _, p := range []struct {
		role, prefix string
		tls          *TLS
		listen       []URLs
	}{
		{"client", "", &c.ClientTLS, []URLs{c.ListenClientURLs, c.ListenClientHTTPURLs, c.ListenMetricsURLs}},
		{"peer", "peer-", &c.PeerTLS, []URLs{c.ListenPeerURLs}},
	} {
		t := p.tls
		t.Role, t.MinVersion, t.MaxVersion, t.CipherSuites = p.role, low, high, suites
		secure := false
		for _, urls := range p.listen {
			secure = secure || urls.AnySecure()
		}
		if err := t.Check(); err != nil {
			if secure || p.prefix != "" && c.mayDialSecurePeers() {
				return errorAt(fmt.Sprintf("--%scert-file", p.prefix), err)
			}
			*t = TLS{Options: certs.Options{Role: p.role, MinVersion: low, MaxVersion: high, CipherSuites: suites}}
			c.PeerTLS.CheckClientSAN = !c.skipPeerSAN
		}
		if t.Auto && !t.Empty() {
			c.warn("setting has no effect", "--"+p.prefix+"auto-tls", "--"+p.prefix+"cert-file is given")
			t.Auto = false
		}
		if secure && t.Empty() && !t.Auto {
			return fmt.Errorf("TLS key/cert (--%scert-file, --%skey-file) must be provided for %s url %s with HTTPS scheme",
				p.prefix, p.prefix, p.role, firstSecure(p.listen))
		}
		c.warnUnused(chosen, p.prefix, secure)
		if secure && t.RequireClientCert && t.TrustedCAFile == "" {
			c.warn("certificates of the system's authorities are accepted", settingOf(chosen, p.prefix+"client-cert-auth").source,
				fmt.Sprintf("--%strusted-ca-file is not given", p.prefix))
		}
	}
	for _, name := range []string{"client-cert-file", "client-key-file"} {
		if s, ok := chosen[name]; ok && s.value != "" && c.AnyClientURLSecure() {
			c.warn("setting has no effect", s.source, "a member makes no client connections to itself")
		}
	}
	return nil
}

// AnyClientURLSecure reports whether a URL for clients or for metrics uses TLS.
func (c *Config) AnyClientURLSecure() bool {
	return c.ListenClientURLs.AnySecure() || c.ListenClientHTTPURLs.AnySecure() || c.ListenMetricsURLs.AnySecure()
}

func settingOf(chosen map[string]setting, name string) setting {
	if s, ok := chosen[name]; ok {
		return s
	}
	return setting{source: "--" + name}
}

func firstSecure(lists []URLs) URL {
	for _, urls := range lists {
		for _, u := range urls {
			if u.Secure() {
				return u
			}
		}
	}
	return URL{}
}

// warnUnused warns of TLS settings of a port without TLS. This is most important for
// --client-cert-auth: the user would think that clients are authenticated.
func (c *Config) warnUnused(chosen map[string]setting, prefix string, secure bool) {
	if secure {
		return
	}
	for _, o := range tlsOptions(prefix, "", clientTLS) {
		s, ok := chosen[o.name]
		if !ok || s.value == "" || o.arg == "" && !isTrue(s.value) {
			continue
		}
		if prefix == "peer-" && c.AdvertisesSecurePeers() {
			continue // also used for dialing
		}
		c.warn("setting has no effect", s.source, "no https:// URL is listened on")
	}
}

// mayDialSecurePeers reports whether a member may be reached with TLS, as far as is known before
// the members have been discovered.
func (c *Config) mayDialSecurePeers() bool { return c.AdvertisesSecurePeers() || c.Discovery.Enabled() }

// AdvertisesSecurePeers reports whether a member in the configuration is reached with TLS.
func (c *Config) AdvertisesSecurePeers() bool {
	return c.InitialAdvertisePeerURLs.AnySecure() || strings.Contains(c.InitialCluster, "https://")
}
