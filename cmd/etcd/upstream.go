package main

import (
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

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
}

// upstreamTLS returns the TLS configuration for a client of endpoints, or nil when they are all
// reached without TLS. The server's name is the endpoint's, which the connection adds.
func upstreamTLS(f upstreamFiles, endpoints []string, insecure bool) (*tls.Config, error) {
	https := slices.ContainsFunc(endpoints, func(e string) bool { return strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://") })
	if insecure && !https && f == (upstreamFiles{}) {
		return nil, nil //nolint:nilnil // nothing asks for TLS
	}
	source, err := certs.New(certs.Options{Role: "upstream", ClientCertFile: f.cert, ClientKeyFile: f.key, TrustedCAFile: f.ca, CRLFile: f.crl})
	if err != nil {
		return nil, err
	}
	c := source.Dial("")
	c.InsecureSkipVerify = f.skipVerify
	return c, nil
}
