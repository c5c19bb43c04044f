package main

import (
	"context"
	"flag"
	"math"
)

var fillKind = workloadKind{
	name:    "fill",
	summary: "put every key of the key space once, in txns of -batch puts",
	example: "bench fill -keys 1000000 -value-size 256 -connections 4 -clients 16",
	defaults: func(s *settings) {
		s.connections, s.clients = 4, 16
	},
	flags: func(s *settings, flags *flag.FlagSet) {
		flags.BoolVar(&s.scatter, "scatter", false, "spread each txn's keys over the key space, instead of putting them in the order of keys")
		flags.IntVar(&s.batch, "batch", s.batch, "puts per txn; etcd's --max-txn-ops is 128 and --max-request-bytes 1.5 MiB unless set otherwise")
	},
	finite:         true,
	total:          fillTotal,
	keysPerRequest: fillBatch,
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		w := &fillWorkload{v3Conns: conns, keys: k, batch: fillBatch(s), stride: 1}
		if s.scatter {
			w.stride = scatterStride(s.keys)
		}
		return w, err
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
	keys   *keyspace
	batch  int
	stride uint64 // between two keys of a txn; it has no common divisor with the number of keys
}

// scatterStride returns a number near 0.618 n, which has no common divisor with n: multiples of it,
// modulo n, are all numbers below n, and any few consecutive ones are spread evenly.
func scatterStride(n int) uint64 {
	stride := max(1, int(float64(n)*(math.Sqrt(5)-1)/2))
	for gcd(stride, n) != 1 {
		stride++
	}
	return uint64(stride)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// position returns the key that is put as the i-th one.
func (w *fillWorkload) position(i int) int {
	return int(uint64(i) * w.stride % uint64(w.keys.keys))
}

func (w *fillWorkload) kinds() []string { return []string{"txn"} }

func (w *fillWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	puts, message := newPutTxn(w.batch)
	ops := message.Success
	return func(ctx context.Context, ticket uint64) (int, error) {
		first := int(ticket) * w.batch
		n := min(w.batch, w.keys.keys-first)
		if n <= 0 { // a -total beyond the key space starts again at its beginning
			first, n = first%w.keys.keys, 1
		}
		for j := range n {
			puts[j].Key = w.keys.appendKey(puts[j].Key[:0], w.position(first+j))
			puts[j].Value = w.keys.value(rng)
		}
		if w.batch == 1 {
			_, err := kv.Put(ctx, puts[0])
			return 0, err
		}
		message.Success = ops[:n]
		_, err := kv.Txn(ctx, message)
		return 0, err
	}
}
