package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"cairn/internal/certs"
)

// upstreamDialing returns options for connections to members that come and go: one that was down is
// tried again soon. recvBytesMax limits a response, also of calls that are forwarded without the
// client's libraries, for which gRPC's default is 4 MiB.
func upstreamDialing(recvBytesMax int) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(recvBytesMax)),
	}
}

// upstreamFiles are the files for connections to a cluster that this process is a client of.
type upstreamFiles struct {
	cert, key, ca string
	crl           string
	skipVerify    bool
	// noCommonName rejects a certificate with a common name.
	noCommonName bool
}

// upstreamSource returns the certificates for a client of endpoints, or nil when they are all
// reached without TLS.
func upstreamSource(f upstreamFiles, endpoints []string, insecure bool, log *slog.Logger) (*certs.Source, error) {
	https := slices.ContainsFunc(endpoints, func(e string) bool { return strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://") })
	if insecure && !https && f == (upstreamFiles{noCommonName: f.noCommonName}) {
		return nil, nil //nolint:nilnil // no TLS
	}
	return certs.New(certs.Options{
		Role: "upstream", ClientCertFile: f.cert, ClientKeyFile: f.key, TrustedCAFile: f.ca, CRLFile: f.crl,
		NoClientCommonName: f.noCommonName, SelfSigned: f.skipVerify, Logger: log,
	})
}

// upstreamTLS returns the TLS configuration for a client that connects once, or nil when endpoints
// are all reached without TLS. The server's name is the endpoint's, which the connection adds.
func upstreamTLS(f upstreamFiles, endpoints []string, insecure bool) (*tls.Config, error) {
	source, err := upstreamSource(f, endpoints, insecure, nil)
	if err != nil || source == nil {
		return nil, err
	}
	return source.Dial(""), nil
}

// reloadedCredentials are gRPC's credentials of a client whose files may change: each connection
// uses the current ones.
type reloadedCredentials struct{ source *certs.Source }

func (r reloadedCredentials) present() credentials.TransportCredentials {
	return credentials.NewTLS(r.source.Dial(""))
}

// ClientHandshake implements credentials.TransportCredentials.
func (r reloadedCredentials) ClientHandshake(ctx context.Context, authority string, nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.present().ClientHandshake(ctx, authority, nc)
}

// ServerHandshake implements credentials.TransportCredentials.
func (reloadedCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (r reloadedCredentials) Info() credentials.ProtocolInfo { return r.present().Info() }

// Clone implements credentials.TransportCredentials.
func (r reloadedCredentials) Clone() credentials.TransportCredentials { return r }

// OverrideServerName implements credentials.TransportCredentials.
func (reloadedCredentials) OverrideServerName(string) error {
	return errors.New("the server's name is the endpoint's")
}
