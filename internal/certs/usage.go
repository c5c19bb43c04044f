package certs

import (
	"crypto/x509"
	"slices"
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
