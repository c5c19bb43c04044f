package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

var connectKind = workloadKind{
	name:    "connect",
	summary: "new connections, each closed once it is established: with https:// a full TLS handshake",
	example: "bench connect -endpoints https://127.0.0.1:2379 -cacert ca.crt -cert client.crt -key client.key -clients 32 -rate 1000",
	open: func(_ context.Context, s settings, _ *keyspace) (workload, error) {
		w := &connectWorkload{endpoints: s.endpoints}
		var err error
		if w.config, err = s.tls.load(); err != nil {
			return nil, err
		}
		w.config.NextProtos = []string{"h2"}
		return w, nil
	},
}

type connectWorkload struct {
	endpoints []endpoint
	config    *tls.Config // without a cache of sessions, so that none is resumed
}

func (w *connectWorkload) kinds() []string { return []string{"connect"} }

func (w *connectWorkload) close() {}

func (w *connectWorkload) client(int) request {
	return func(ctx context.Context, ticket uint64) (int, error) {
		nc, err := w.connect(ctx, w.endpoints[ticket%uint64(len(w.endpoints))])
		if err != nil {
			return 0, err
		}
		_ = nc.Close() // it carried nothing
		return 0, nil
	}
}

func (w *connectWorkload) connect(ctx context.Context, to endpoint) (net.Conn, error) {
	if to.scheme == "https" {
		d := tls.Dialer{Config: w.config}
		nc, err := d.DialContext(ctx, "tcp", to.address)
		if err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		return nc, nil
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", to.address)
}
