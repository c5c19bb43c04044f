package main

import (
	"context"
	"flag"
)

var mixedKind = workloadKind{
	name:    "mixed",
	summary: "v3 gets and puts mixed by a ratio, over a filled key space",
	example: "bench mixed -connections 100 -clients 1000 -reads 0.9",
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.Float64Var(&s.reads, "reads", s.reads, "share of gets, 0 to 1")
		flags.BoolVar(&s.serializable, "serializable", false, "make the gets serializable")
	},
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &mixedWorkload{
			v3Conns: conns,
			get:     getWorkload{v3Conns: conns, keys: k, serializable: s.serializable},
			put:     putWorkload{v3Conns: conns, keys: k},
			reads:   s.reads,
		}, err
	},
}

type mixedWorkload struct {
	*v3Conns
	get   getWorkload
	put   putWorkload
	reads float64
}

const (
	mixedGet = iota
	mixedPut
)

func (w *mixedWorkload) kinds() []string { return []string{"get", "put"} }

func (w *mixedWorkload) client(i int) request {
	get, put := w.get.client(i), w.put.client(i)
	// A source apart from those that pick the keys; otherwise a client's gets would read the keys
	// of its own puts.
	rng := w.get.keys.random(-2 - i)
	return func(ctx context.Context, ticket uint64) (int, error) {
		if rng.Float64() < w.reads {
			_, err := get(ctx, ticket)
			return mixedGet, err
		}
		_, err := put(ctx, ticket)
		return mixedPut, err
	}
}
