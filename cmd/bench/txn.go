package main

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var txnKind = workloadKind{
	name:    "txn",
	summary: "v3 transactions as Kubernetes writes: if the key's revision is the one last seen, put; else get",
	example: "bench txn -connections 100 -clients 1000 -keys 100000",
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		if s.keys < s.clients {
			return nil, fmt.Errorf("-keys %d with -clients %d: each client needs at least one key", s.keys, s.clients)
		}
		conns, err := dialV3(ctx, s)
		return &txnWorkload{v3Conns: conns, keys: k, clients: s.clients, revisions: make([]int64, s.keys)}, err
	},
}

// Kinds of responses to a txn. A refused one returns the key's revision, which the next attempt
// uses: that happens once per key that existed before the run.
const (
	txnPut = iota
	txnRefused
)

// txnWorkload gives client i the keys i, i+clients, i+2·clients, …, so that only this client
// changes their revisions and its compares hold, and so that an element of revisions has one reader
// and writer.
type txnWorkload struct {
	*v3Conns
	keys      *keyspace
	clients   int
	revisions []int64 // last known mod revision of each key; 0: the key does not exist
}

func (w *txnWorkload) kinds() []string { return []string{"put", "refused"} }

func (w *txnWorkload) client(i int) request {
	kv, rng := w.kv(i), w.keys.random(i)
	own := (w.keys.keys - i + w.clients - 1) / w.clients
	var key []byte
	target := &pb.Compare_ModRevision{}
	compare := &pb.Compare{Result: pb.Compare_EQUAL, Target: pb.Compare_MOD, TargetUnion: target}
	put, get := &pb.PutRequest{}, &pb.RangeRequest{}
	message := &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: get}}},
	}
	turn := 0
	return func(ctx context.Context, _ uint64) (int, error) {
		n := i + w.clients*(turn%own)
		if !w.keys.sequential {
			n = i + w.clients*rng.IntN(own)
		}
		turn++
		key = w.keys.appendKey(key[:0], n)
		compare.Key, put.Key, get.Key = key, key, key
		target.ModRevision, put.Value = w.revisions[n], w.keys.value(rng)
		response, err := kv.Txn(ctx, message)
		if err != nil {
			return txnPut, err
		}
		if response.Succeeded {
			w.revisions[n] = response.Header.GetRevision()
			return txnPut, nil
		}
		w.revisions[n] = 0
		if len(response.Responses) == 1 && len(response.Responses[0].GetResponseRange().GetKvs()) == 1 {
			w.revisions[n] = response.Responses[0].GetResponseRange().Kvs[0].ModRevision
		}
		return txnRefused, nil
	}
}
