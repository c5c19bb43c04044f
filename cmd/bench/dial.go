package main

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

var dialKind = workloadKind{
	name:    "dial",
	summary: "-total connections that stay open to the end, each with a linearizable get",
	example: "bench dial -total 10000 -clients 32 -hold",
	defaults: func(s *settings) {
		s.clients, s.total = 32, 10_000
	},
	flags: holdFlag,
	open: func(_ context.Context, s settings, k *keyspace) (workload, error) {
		return &dialWorkload{settings: s, keys: k}, nil
	},
}

type dialWorkload struct {
	settings

	keys *keyspace
	mu   sync.Mutex
	open []*grpc.ClientConn
}

func (w *dialWorkload) kinds() []string { return []string{"dial"} }

func (w *dialWorkload) client(i int) request {
	rng := w.keys.random(i)
	return func(ctx context.Context, ticket uint64) (int, error) {
		// Small buffers: thousands of connections of one process must fit into its memory.
		conn, err := newV3Conn(w.endpoints[ticket%uint64(len(w.endpoints))], w.tls,
			grpc.WithReadBufferSize(2<<10), grpc.WithWriteBufferSize(2<<10))
		if err != nil {
			return 0, err
		}
		w.mu.Lock()
		w.open = append(w.open, conn)
		w.mu.Unlock()
		key := w.keys.appendKey(nil, w.keys.pick(ticket, rng))
		_, err = pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: key}, grpc.WaitForReady(true))
		return 0, err
	}
}

func (w *dialWorkload) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.open {
		_ = conn.Close() // its only error is that it was closed before
	}
}
