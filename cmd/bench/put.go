package main

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var putKind = workloadKind{
	name:    "put",
	summary: "v3 puts of single keys",
	example: "bench put -connections 100 -clients 1000 -value-size 256 -duration 10s -pid $(pidof etcd)",
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &putWorkload{v3Conns: conns, keys: k}, err
	},
}

type putWorkload struct {
	*v3Conns
	keys *keyspace
}

func (w *putWorkload) kinds() []string { return []string{"put"} }

func (w *putWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	var message pb.PutRequest
	return func(ctx context.Context, ticket uint64) (int, error) {
		message.Key = w.keys.appendKey(message.Key[:0], w.keys.pick(ticket, rng))
		message.Value = w.keys.value(rng)
		_, err := kv.Put(ctx, &message)
		return 0, err
	}
}
