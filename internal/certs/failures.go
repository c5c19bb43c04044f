package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"cairn/internal/handshake"
	"cairn/internal/throttle"
)

// Failures logs handshakes that failed, once for each address and minute.
type Failures struct {
	log   *slog.Logger
	hosts *throttle.Throttle
}

// NewFailures returns a log of failed handshakes.
func NewFailures(log *slog.Logger) *Failures { return newFailures(log, time.Now) }

func newFailures(log *slog.Logger, now func() time.Time) *Failures {
	return &Failures{log: log, hosts: throttle.New(time.Minute, now)}
}

// Add logs a failed handshake with a client, with its explanation.
func (f *Failures) Add(remote, local net.Addr, err error) {
	host := remote.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	f.hosts.Warn(f.log, host, "rejected connection",
		"remote_addr", remote.String(), "local_addr", local.String(), "reason", Explain(err), "error", err)
}

// alerts maps error texts of crypto/tls to explanations for an operator.
var alerts = []struct{ text, words string }{
	{"remote error: tls: unknown certificate authority", "the client does not trust this server's certificate: give the client the authority that signed it"},
	{"remote error: tls: bad certificate", "the client rejected this server's certificate: its host name, validity or authority is not what the client expects"},
	{"remote error: tls: expired certificate", "the client rejected this server's certificate: it has expired"},
	{"remote error: tls: unknown certificate", "the client rejected this server's certificate"},
	{"tls: client didn't provide a certificate", "the client sent no certificate: give it one that an authority of this server has signed"},
	{"first record does not look like a TLS handshake", "the client does not speak TLS: want https:// in its endpoint"},
	{"TLS handshake on a port without TLS", "the client speaks TLS, and this port does not: want http:// in its endpoint"},
	{"client offered only unsupported versions", "the client and this server have no TLS version in common"},
	{"no cipher suite supported by both client and server", "the client and this server have no cipher suite in common"},
}

// Explain returns an explanation of a failed handshake with a client, for an operator.
func Explain(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var timeout net.Error
	switch {
	case errors.As(err, &unknown):
		return "the client's certificate is signed by an authority that this server does not trust"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil && strings.Contains(invalid.Detail, "is before") {
			return "the client's certificate is not valid yet"
		}
		return "the client's certificate has expired"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the client's certificate must not be used by clients: want the extended key usage clientAuth"
	case errors.Is(err, ErrRevoked), errors.Is(err, ErrNotAllowed), errors.Is(err, ErrAddress):
		return "the client's " + err.Error()
	case errors.Is(err, handshake.ErrBusy):
		return "too many clients connect at the same time: let them keep their connections"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the handshake took too long"
	case errors.Is(err, io.EOF):
		return "the client closed the connection before the handshake was complete"
	}
	for _, a := range alerts {
		if strings.Contains(err.Error(), a.text) {
			return a.words
		}
	}
	if header := (tls.RecordHeaderError{}); errors.As(err, &header) {
		return "the client does not speak TLS: want https:// in its endpoint"
	}
	return err.Error()
}
