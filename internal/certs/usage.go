package certs

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// warnOfUsage logs certificates that the remote end will reject, since their extended key usage
// does not allow what this process shows them for. Members show the certificate of the peer port to
// each other in both directions.
func (s *Source) warnOfUsage(m *material) {
	warn := func(file string, c *x509.Certificate, message, want string) {
		s.opts.Logger.Warn(message, "role", s.opts.Role, "file", file, "subject", c.Subject.String(), "want", "the extended key usage "+want)
	}
	for _, c := range m.serverCerts {
		if !hasUsage(c.Leaf, x509.ExtKeyUsageServerAuth) {
			warn(s.opts.CertFile, c.Leaf, "clients will reject the certificate: it is not for servers", "serverAuth")
		}
	}
	if s.opts.Role == "peer" && m.clientCert != nil && !hasUsage(m.clientCert.Leaf, x509.ExtKeyUsageClientAuth) {
		file := s.opts.ClientCertFile
		if file == "" {
			file = s.opts.CertFile
		}
		warn(file, m.clientCert.Leaf, "members that require a certificate will reject this one: it is not for clients", "clientAuth")
	}
}

// hasUsage reports whether a certificate allows a usage. One without extended key usages allows
// all.
func hasUsage(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// warnOfHosts logs the advertised hosts for which no certificate is valid: clients and members
// that connect there will reject it.
func (s *Source) warnOfHosts(m *material) {
	if s.opts.SelfSigned || len(m.serverCerts) == 0 {
		return // a self-signed certificate is not verified
	}
	wanted := s.opts.AdvertisedHosts
	if s.opts.ServerName != "" { // members verify this name instead
		wanted = []string{s.opts.ServerName}
	}
	var names []string
	for _, c := range m.serverCerts {
		names = append(names, sans(c.Leaf))
	}
	for _, host := range wanted {
		if slices.ContainsFunc(m.serverCerts, func(c tls.Certificate) bool { return c.Leaf.VerifyHostname(host) == nil }) {
			continue
		}
		s.opts.Logger.Warn("the certificate is not valid for an advertised host: clients that connect to it will reject the certificate",
			"role", s.opts.Role, "file", s.opts.CertFile, "host", host, "valid_for", strings.Join(names, ", "))
	}
}
