package main

import (
	"context"
	"flag"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var txnPutKind = workloadKind{
	name:    "txn-put",
	summary: "v3 transactions of -ops puts of different keys, without a comparison",
	example: "bench txn-put -ops 4 -connections 100 -clients 1000 -keys 100000",
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.IntVar(&s.ops, "ops", s.ops, "puts per txn; etcd's --max-txn-ops is 128 unless set otherwise")
	},
	keysPerRequest: func(s settings) int { return s.ops },
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		if s.keys < s.ops {
			return nil, fmt.Errorf("-keys %d with -ops %d: the keys of a txn must differ: want at least as many keys", s.keys, s.ops)
		}
		conns, err := dialV3(ctx, s)
		return &txnPutWorkload{v3Conns: conns, keys: k, ops: s.ops}, err
	},
}

type txnPutWorkload struct {
	*v3Conns
	keys *keyspace
	ops  int
}

func (w *txnPutWorkload) kinds() []string { return []string{"txn"} }

func (w *txnPutWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	puts, message := newPutTxn(w.ops)
	chosen := make([]int, 0, w.ops)
	return func(ctx context.Context, ticket uint64) (int, error) {
		chosen = w.choose(chosen[:0], func(j int) int { return w.keys.pick(ticket*uint64(w.ops)+uint64(j), rng) })
		for j, n := range chosen {
			puts[j].Key, puts[j].Value = w.keys.appendKey(puts[j].Key[:0], n), w.keys.value(rng)
		}
		response, err := kv.Txn(ctx, message)
		if err == nil && len(response.Responses) != w.ops {
			err = wrongCount("puts in the response", int64(len(response.Responses)), int64(w.ops))
		}
		return 0, err
	}
}

// choose appends different keys. A key that is already in the txn, which the server would reject,
// is replaced by the next one that is not.
func (w *txnPutWorkload) choose(chosen []int, pick func(int) int) []int {
	for j := range w.ops {
		n := pick(j)
		for slices.Contains(chosen, n) {
			n = (n + 1) % w.keys.keys
		}
		chosen = append(chosen, n)
	}
	return chosen
}

// newPutTxn returns a transaction of n puts, and the puts in it.
func newPutTxn(n int) ([]*pb.PutRequest, *pb.TxnRequest) {
	puts, ops := make([]*pb.PutRequest, n), make([]*pb.RequestOp, n)
	for j := range puts {
		puts[j] = &pb.PutRequest{}
		ops[j] = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: puts[j]}}
	}
	return puts, &pb.TxnRequest{Success: ops}
}
