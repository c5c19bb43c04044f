// Package reach makes the TLS configuration for connections to endpoints, and diagnoses endpoints
// that cannot be reached.
//
// It owns the TLS configuration made from the files in the options, and the diagnosis of an
// endpoint that did not serve a request: a short text with the cause and the next step. It does not
// own the requests themselves (v2client and go.etcd.io/etcd/client/v3 do), nor the options.
//
// Invariants: a diagnosis sends at most one HTTP request without side effects and no credentials
// but the client certificate; it ends within the time-out.
//
// Concurrency: All diagnoses endpoints concurrently; all other functions are stateless.
package reach

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Files names the files of a TLS configuration, and the options that named them for error messages.
type Files struct {
	Cert, Key, CA                   string
	CertOption, KeyOption, CAOption string
	SkipVerify                      bool
}

// Config reads the files.
func (f Files) Config() (*tls.Config, error) {
	// the user asked for it
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.SkipVerify} //nolint:gosec
	if f.Cert != "" {
		pair, err := f.pair()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.CAOption, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s %s holds no certificate in PEM format%s", f.CAOption, f.CA, contains(text))
		}
	}
	return config, nil
}

// pair reads the certificate and its key, and explains why they do not match.
func (f Files) pair() (pair tls.Certificate, err error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return pair, fmt.Errorf("%s: %w", f.CertOption, err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return pair, fmt.Errorf("%s: %w", f.KeyOption, err)
	}
	if pair, err = tls.X509KeyPair(cert, key); err != nil {
		return pair, fmt.Errorf("%s %s (%s), %s %s (%s): %w", f.CertOption, f.Cert, kind(cert), f.KeyOption, f.Key, kind(key), err)
	}
	return pair, nil
}

// kind names the first PEM block of a text.
func kind(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil {
		return "not in PEM format"
	}
	return block.Type
}

func contains(text []byte) string {
	if block, _ := pem.Decode(text); block != nil {
		return ": it holds a " + block.Type
	}
	return ""
}

// handshakeError explains an error of a TLS handshake: which check failed and what to do.
func handshakeError(err error, host string, o Options) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &record):
		return "the server does not speak TLS: use " + endpointOf(host, false)
	case errors.As(err, &unknown):
		issuer := ""
		if unknown.Cert != nil {
			issuer = fmt.Sprintf(" by %q", unknown.Cert.Issuer.String())
		}
		return fmt.Sprintf("the server's certificate is signed%s, which is not trusted: name the file of its CA with %s", issuer, o.CAOption)
	case errors.As(err, &hostname) && filepath.IsAbs(host):
		return fmt.Sprintf("the server's certificate is not valid for the name of the socket, %q, but for %s: issue a certificate with this name too",
			hostname.Host, subjects(hostname.Certificate))
	case errors.As(err, &hostname):
		return fmt.Sprintf("the server's certificate is not valid for %q, but for %s: use one of these names, or issue a certificate with this one",
			hostname.Host, subjects(hostname.Certificate))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return expired(invalid.Cert)
	case remoteAlert(err) != "":
		return alertText(remoteAlert(err), o)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return "the server closed the connection during the TLS handshake: if it does not speak TLS, use http://" + host
	}
	return fmt.Sprintf("TLS handshake: %v", err)
}

// expired explains a certificate outside of its validity.
func expired(c *x509.Certificate) string {
	now := time.Now()
	if now.Before(c.NotBefore) {
		return fmt.Sprintf("the server's certificate is not valid before %s, and the clock of this machine shows %s: correct the clock",
			c.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("the server's certificate, or its CA's (%q), expired at %s: renew it on the server", c.Subject.String(), c.NotAfter.Format(time.RFC3339))
}

// remoteAlert returns the text of the alert with which a server ended the TLS connection, or "".
// crypto/tls does not export its type.
func remoteAlert(err error) string {
	_, text, _ := strings.Cut(err.Error(), "remote error: tls: ")
	return text
}

// alertText explains an alert that the server sent.
func alertText(alert string, o Options) string {
	files := o.CertOption + " and " + o.KeyOption
	switch {
	case alert == "certificate required", alert == "bad certificate" && !o.HasCert:
		return "the server requires a client certificate: give " + files
	case alert == "bad certificate":
		return "the server refused the client certificate: give one that its CA has signed with " + files
	case strings.HasPrefix(alert, "unknown certificate"): // authority
		return "the server does not trust the CA of the client certificate: give one that its CA has signed with " + files
	case alert == "expired certificate":
		return "the client certificate has expired: renew it and give it with " + files
	case alert == "revoked certificate":
		return "the client certificate has been revoked: give another one with " + files
	case alert == "protocol version not supported":
		return "the server accepts no TLS version of this client: see its --tls-min-version and --tls-max-version"
	}
	return fmt.Sprintf("the server ended the TLS handshake: %s", alert)
}

// subjects lists the names that a certificate is valid for.
func subjects(c *x509.Certificate) string {
	names := SANs(c)
	if len(names) == 0 {
		return "no name at all"
	}
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// SANs returns the DNS names and IP addresses of a certificate.
func SANs(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}
