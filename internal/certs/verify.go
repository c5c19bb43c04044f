package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"cairn/internal/handshake"
)

// verifyClient makes the checks that crypto/tls does not make: the chain again when a session is
// resumed, since the authorities may have changed meanwhile, then revocation, names and the
// address.
func (o *Options) verifyClient(ctx context.Context, m *material, cs *tls.ConnectionState, remote net.Addr) error {
	if len(cs.PeerCertificates) == 0 {
		return nil // where one is required, the handshake has failed already
	}
	if cs.DidResume {
		if err := verifyChain(m.roots, cs.PeerCertificates, o); err != nil {
			return err
		}
	}
	if err := o.verifyRemote(m, cs); err != nil {
		return err
	}
	if !o.CheckClientSAN {
		return nil
	}
	host, _, err := net.SplitHostPort(remote.String())
	if err != nil {
		return nil //nolint:nilerr // a Unix socket has no address to compare with
	}
	var failed error
	if err := handshake.WithoutTurn(ctx, func() { failed = checkSAN(ctx, o.Resolver, cs.PeerCertificates[0], host) }); err != nil {
		return err
	}
	return failed
}

func verifyChain(roots *x509.CertPool, chain []*x509.Certificate, o *Options) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: o.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// The errors about a certificate whose chain is valid. They are wrapped with the details.
var (
	ErrRevoked    = errors.New("certificate is revoked")
	ErrNotAllowed = errors.New("certificate has none of the allowed names")
	ErrAddress    = errors.New("certificate is not for this address")
)

// verifyRemote checks the remote end's certificate for revocation and names, in either direction.
func (o *Options) verifyRemote(m *material, cs *tls.ConnectionState) error {
	for _, c := range cs.PeerCertificates {
		if m.revoked[revocationKey(c.RawIssuer, c.SerialNumber.Bytes())] {
			return fmt.Errorf("%w: serial number %x", ErrRevoked, c.SerialNumber)
		}
	}
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	if len(o.AllowedCNs) > 0 && !slices.Contains(o.AllowedCNs, leaf.Subject.CommonName) {
		return fmt.Errorf("%w: its common name is %q, want %s", ErrNotAllowed, leaf.Subject.CommonName, quoted(o.AllowedCNs))
	}
	if len(o.AllowedHostnames) > 0 && !slices.ContainsFunc(o.AllowedHostnames, func(h string) bool { return leaf.VerifyHostname(h) == nil }) {
		return fmt.Errorf("%w: it is for %s, want %s", ErrNotAllowed, sans(leaf), quoted(o.AllowedHostnames))
	}
	return nil
}

// checkSAN checks that a client comes from an address that its certificate names: by IP, by DNS
// name that resolves to it, or by a wildcard that matches a name of the address. A certificate
// without such names may come from any address.
func checkSAN(ctx context.Context, r Resolver, leaf *x509.Certificate, host string) error {
	if len(leaf.IPAddresses) == 0 && len(leaf.DNSNames) == 0 {
		return nil
	}
	address := net.ParseIP(host)
	if slices.ContainsFunc(leaf.IPAddresses, address.Equal) {
		return nil
	}
	if len(leaf.DNSNames) == 0 {
		return fmt.Errorf("%w: it is for %s, and comes from %s", ErrAddress, sans(leaf), host)
	}
	var wildcards []string
	var failed []error
	for _, name := range leaf.DNSNames {
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			wildcards = append(wildcards, suffix)
			continue
		}
		addresses, err := r.LookupHost(ctx, name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if slices.ContainsFunc(addresses, func(a string) bool { return net.ParseIP(a).Equal(address) }) {
			return nil
		}
	}
	if len(wildcards) > 0 {
		names, err := r.LookupAddr(ctx, host)
		if err != nil {
			failed = append(failed, err)
		}
		if slices.ContainsFunc(names, func(name string) bool { return matchesWildcard(strings.TrimSuffix(name, "."), wildcards) }) {
			return nil
		}
	}
	err := fmt.Errorf("%w: it is for %s, and comes from %s", ErrAddress, sans(leaf), host)
	return errors.Join(append([]error{err}, failed...)...)
}

// matchesWildcard reports whether a name has one label before one of the suffixes.
func matchesWildcard(name string, suffixes []string) bool {
	return slices.ContainsFunc(suffixes, func(suffix string) bool {
		label, ok := strings.CutSuffix(strings.ToLower(name), strings.ToLower(suffix))
		return ok && label != "" && !strings.Contains(label, ".")
	})
}

// sans lists the subject alternative names of a certificate.
func sans(c *x509.Certificate) string {
	var all []string
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	all = append(all, c.DNSNames...)
	if len(all) == 0 {
		return "no host"
	}
	return strings.Join(all, ", ")
}

func quoted(names []string) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(texts, " or ")
}
