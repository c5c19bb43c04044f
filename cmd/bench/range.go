package main

import (
	"context"
	"flag"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var rangeKind = workloadKind{
	name:    "range",
	summary: "v3 lists of -limit keys with the exact count of those in the range, out of a filled key space",
	example: "bench range -connections 8 -clients 8 -keys 100000 -limit 1000 -start random",
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.IntVar(&s.limit, "limit", s.limit, "maximum number of keys per response")
		flags.StringVar(&s.start, "start", s.start, "`key` that a range begins at: first of the key space, or random;\nit ends behind the key space, as a page of a longer list does")
		flags.BoolVar(&s.serializable, "serializable", false, "read the member's own state, without a round of the cluster")
	},
	keysPerRequest: func(s settings) int {
		if s.start == "random" {
			return 1 // the number of keys varies with the start
		}
		return min(s.limit, s.keys)
	},
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &rangeWorkload{v3Conns: conns, keys: k, limit: s.limit, random: s.start == "random", serializable: s.serializable}, err
	},
}

type rangeWorkload struct {
	*v3Conns
	keys         *keyspace
	limit        int
	random       bool
	serializable bool
}

func (w *rangeWorkload) kinds() []string { return []string{"range"} }

func (w *rangeWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	message := pb.RangeRequest{RangeEnd: w.keys.end(), Limit: int64(w.limit), Serializable: w.serializable}
	return func(ctx context.Context, ticket uint64) (int, error) {
		first := 0
		if w.random {
			first = w.keys.pick(ticket, rng)
		}
		message.Key = w.keys.appendKey(message.Key[:0], first)
		response, err := kv.Range(ctx, &message)
		if err != nil {
			return 0, err
		}
		inRange := int64(w.keys.keys - first)
		if response.Count != inRange {
			return 0, wrongCount("range counted", response.Count, inRange)
		}
		if want := min(inRange, int64(w.limit)); int64(len(response.Kvs)) != want {
			return 0, wrongCount("range returned", int64(len(response.Kvs)), want)
		}
		return 0, nil
	}
}
