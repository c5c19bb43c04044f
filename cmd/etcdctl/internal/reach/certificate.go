package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
)

// Certificate returns the certificate that an endpoint presents, and a text with the reason why it
// is not accepted, or "". The certificate is nil if the endpoint cannot be reached over TLS.
func Certificate(ctx context.Context, endpoint string, o Options) (cert *x509.Certificate, problem string) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout())
	defer cancel()
	network, address, host, secure, err := o.target(endpoint)
	switch {
	case err != nil:
		return nil, err.Error()
	case !secure:
		return nil, "not reached over TLS"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, dialError(err, address, o)
	}
	defer conn.Close()
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = host
	skip := config.InsecureSkipVerify
	// Dial without verification, to get the certificate in any case; it is verified below.
	config.InsecureSkipVerify = true //nolint:gosec // see above
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, handshakeError(err, address, o)
	}
	chain := client.ConnectionState().PeerCertificates
	cert = chain[0]
	if skip {
		return cert, ""
	}
	options := x509.VerifyOptions{Roots: config.RootCAs, DNSName: host, Intermediates: x509.NewCertPool()}
	for _, intermediate := range chain[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	if _, err := cert.Verify(options); err != nil {
		return cert, handshakeError(err, address, o)
	}
	return cert, ""
}
