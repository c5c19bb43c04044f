package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// loadRevocationLists reads revocation lists. As in etcd their signatures are not verified: a user
// who can write the file can replace the certificates as well.
func loadRevocationLists(path string) ([]*x509.RevocationList, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	lists, err := parseRevocationLists(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lists, nil
}

// parseRevocationLists reads one list as DER, or any number of them as PEM.
func parseRevocationLists(text []byte) (lists []*x509.RevocationList, err error) {
	var ders [][]byte
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("the file is empty: want a revocation list, which may revoke nothing, as DER or as a PEM block BEGIN X509 CRL")
	case bytes.Contains(text, []byte("-----BEGIN")):
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			if block.Type == "X509 CRL" {
				ders = append(ders, block.Bytes)
			}
		}
	default:
		ders = [][]byte{text}
	}
	if len(ders) == 0 {
		return nil, errors.New("no revocation list in it: want DER, or PEM blocks BEGIN X509 CRL")
	}
	for i, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d cannot be read: %w", i+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func revokedBy(lists []*x509.RevocationList) map[string]bool {
	revoked := map[string]bool{}
	for _, list := range lists {
		for _, e := range list.RevokedCertificateEntries {
			revoked[revocationKey(list.RawIssuer, e.SerialNumber.Bytes())] = true
		}
	}
	return revoked
}

// revocationKey identifies a certificate: serial numbers are unique for an issuer only.
func revocationKey(issuer, serial []byte) string { return string(issuer) + "\x00" + string(serial) }

// RevocationExpiries returns, for each revocation list in use, the time at which its issuer wants
// it replaced. A list without such a time is not among them.
func (s *Source) RevocationExpiries() (all []Expiry) {
	for _, list := range s.now.Load().material.lists {
		if !list.NextUpdate.IsZero() {
			all = append(all, Expiry{Role: s.opts.Role, File: s.opts.CRLFile, Subject: list.Issuer.String(), NotAfter: list.NextUpdate, kind: kindList})
		}
	}
	return all
}

// warnOfForeignLists logs revocation lists that revoke no certificate which the trusted authorities
// have signed. Lists of intermediate authorities are compared only if those are in the file, too.
func (s *Source) warnOfForeignLists(m *material) {
	if m.roots == nil {
		return // the system's authorities are trusted
	}
	for _, list := range m.lists {
		attrs := []any{"role", s.opts.Role, "file", s.opts.CRLFile, "issuer", list.Issuer.String(), "trusted_ca_file", s.opts.TrustedCAFile}
		named := func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, list.RawIssuer) }
		signed := func(c *x509.Certificate) bool { return named(c) && list.CheckSignatureFrom(c) == nil }
		switch {
		case slices.ContainsFunc(m.authorities, signed):
		case slices.ContainsFunc(m.authorities, named):
			s.opts.Logger.Warn("revocation list is not signed by the trusted authority of its issuer's name: "+
				"it is in use, but may be of an authority that was replaced", attrs...)
		default:
			s.opts.Logger.Warn("revocation list is of an authority that is not trusted: it revokes no certificate that the trusted authorities have issued", attrs...)
		}
	}
}
