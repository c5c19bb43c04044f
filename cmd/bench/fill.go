package main

import (
	"context"
	"flag"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var fillKind = workloadKind{
	name:    "fill",
	summary: "put every key of the key space once, in txns of many puts",
	example: "bench fill -keys 1000000 -value-size 256 -connections 4 -clients 16",
	defaults: func(s *settings) {
		s.connections, s.clients = 4, 16
	},
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.IntVar(&s.batch, "batch", s.batch, "puts per txn; etcd's --max-txn-ops is 128 and --max-request-bytes 1.5 MiB unless set otherwise")
	},
	finite:         true,
	total:          fillTotal,
	keysPerRequest: fillBatch,
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &fillWorkload{v3Conns: conns, keys: k, batch: fillBatch(s)}, err
	},
}

// fillBatch returns the number of puts in a txn: -batch, or fewer where that would exceed 1 MiB.
func fillBatch(s settings) int {
	const requestBytesMax = 1 << 20
	const overheadBytes = 32 // of a put inside a txn: tags, lengths
	return max(1, min(s.batch, s.keys, requestBytesMax/(s.keyBytes+s.valueBytes+overheadBytes)))
}

func fillTotal(s settings) int {
	batch := fillBatch(s)
	return (s.keys + batch - 1) / batch
}

type fillWorkload struct {
	*v3Conns
	keys  *keyspace
	batch int
}

func (w *fillWorkload) kinds() []string { return []string{"txn"} }

func (w *fillWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	puts := make([]*pb.PutRequest, w.batch)
	ops := make([]*pb.RequestOp, w.batch)
	for j := range puts {
		puts[j] = &pb.PutRequest{}
		ops[j] = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: puts[j]}}
	}
	return func(ctx context.Context, ticket uint64) (int, error) {
		first := int(ticket) * w.batch
		n := min(w.batch, w.keys.keys-first)
		if n <= 0 { // a -total beyond the key space starts again at its beginning
			first, n = first%w.keys.keys, 1
		}
		for j := range n {
			puts[j].Key = w.keys.appendKey(puts[j].Key[:0], first+j)
			puts[j].Value = w.keys.value(rng)
		}
		_, err := kv.Txn(ctx, &pb.TxnRequest{Success: ops[:n]})
		return 0, err
	}
}
