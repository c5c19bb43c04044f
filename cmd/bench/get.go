package main

import (
	"context"
	"flag"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var getKind = workloadKind{
	name:    "get",
	summary: "v3 gets of single keys out of a filled key space, linearizable or serializable",
	example: "bench get -connections 100 -clients 1000 -keys 100000 -serializable",
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.BoolVar(&s.serializable, "serializable", false, "read the member's own state, without a round of the cluster")
	},
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &getWorkload{v3Conns: conns, keys: k, serializable: s.serializable}, err
	},
}

type getWorkload struct {
	*v3Conns
	keys         *keyspace
	serializable bool
}

func (w *getWorkload) kinds() []string { return []string{"get"} }

func (w *getWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	message := pb.RangeRequest{Serializable: w.serializable}
	return func(ctx context.Context, ticket uint64) (int, error) {
		message.Key = w.keys.appendKey(message.Key[:0], w.keys.pick(ticket, rng))
		response, err := kv.Range(ctx, &message)
		if err != nil {
			return 0, err
		}
		if len(response.Kvs) != 1 {
			return 0, errKeyMissing
		}
		return 0, nil
	}
}
