package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// drawEntries makes a log of random commands of all kinds, including v2's, over few keys.
func drawEntries(rng *rand.Rand, n int) (entries []*raftpb.Entry) {
	key := func() string {
		return []string{"a", "b", "/d/a", "/d/b", "/d/e/f", "/g", "z"}[rng.IntN(7)]
	}
	rev := int64(1) // approximate revision
	value := 0
	draw := func() command {
		value++
		rev++
		v := fmt.Sprint(value)
		switch rng.IntN(17) {
		case 0, 1, 2, 3:
			return put(key(), v)
		case 4:
			return keep(key())
		case 5:
			return del(key(), "")
		case 6:
			return del(key(), key())
		case 7:
			return compact(rev/3 + rng.Int64N(rev/2+1)) // some are refused
		case 8, 9, 10:
			k := key()
			return txn(&mvcc.TxnOp{
				Compares: []mvcc.Compare{{KeyRange: kv.KeyRange{Key: []byte(k)}, Target: mvcc.CompareVersion, Result: mvcc.CompareGreater, Number: rng.Int64N(3)}},
				Success: []mvcc.Op{
					{Put: &mvcc.PutOp{Key: []byte(k), Value: []byte(v), PrevKV: true}},
					{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte{0}}, Limit: rng.Int64N(3)}},
				},
				Failure: []mvcc.Op{
					{Put: &mvcc.PutOp{Key: []byte(k), Value: []byte(v)}},
					{Put: &mvcc.PutOp{Key: []byte(key()), IgnoreValue: true}},
					{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("/"), End: []byte("0")}, Revision: max(0, rev-rng.Int64N(40)), CountOnly: true}},
				},
			})
		}
		if rng.IntN(12) == 0 {
			rev-- // does not move the revision; every other one is refused
			c := membership.Command{Kind: membership.KindPublish, ID: uint64(1 + rng.IntN(2)), Name: v, ClientURLs: []string{"http://" + v}}
			return command{KindMembership, c.Append(nil)}
		}
		if rng.IntN(2) == 0 {
			rev-- // most of them do not move the revision
			return drawLease(rng, key(), v)
		}
		c := v2tree.Command{
			Kind: v2tree.Kind(1 + rng.IntN(7)), Path: []byte([]string{"/d", "/d/a", "/d/e", "/d/e/f", "/g", "/h/i"}[rng.IntN(6)]),
			Dir: rng.IntN(3) == 0, Recursive: rng.IntN(2) == 0, Value: []byte(v),
		}
		if rng.IntN(3) == 0 {
			c.HasTTL, c.TTL = true, time.Duration(rng.IntN(5000))
		}
		if c.Kind == v2tree.KindCompareAndSwap || c.Kind == v2tree.KindCompareAndDelete {
			c.Dir, c.PrevIndex = false, uint64(max(1, rev-rng.Int64N(5)))
		}
		return v2(c)
	}
	for i := range n {
		index := uint64(i + 2)
		if rng.IntN(15) == 0 {
			entries = append(entries, rawEntry(index, nil))
			continue
		}
		var commands []command
		for range rng.IntN(5) {
			commands = append(commands, draw())
		}
		if rng.IntN(20) == 0 {
			kind := alarm.Kind(1 + rng.IntN(2))
			commands = append(commands, alarmed(alarm.Activate, kind, 1), draw(), draw(), alarmed(alarm.Raise, alarm.NoSpace, 1),
				alarmed(alarm.Deactivate, kind, 1), draw(), alarmed(alarm.Lift, alarm.NoSpace, 1))
		}
		entries = append(entries, entry(index, kv.ClusterTime(1000*i+rng.IntN(3000)), commands...))
	}
	return entries
}

// drawLease draws commands on few leases, which end soon, and puts that are attached to them.
func drawLease(rng *rand.Rand, key, value string) command {
	id := kv.LeaseID(rng.IntN(4) - 2) // 0 means no lease, in a put
	switch kind := rng.IntN(8); {
	case kind < 3:
		return attach(key, value, id)
	case id == 0:
		return txn(&mvcc.TxnOp{Success: []mvcc.Op{
			{Put: &mvcc.PutOp{Key: []byte(key), Lease: 1}}, {Put: &mvcc.PutOp{Key: []byte("z"), Lease: -1}},
		}})
	case kind < 5:
		return leased(lease.KindGrant, id, int64(rng.IntN(2)), 0)
	case kind == 5:
		return leased(lease.KindRenew, id, 0, 0)
	case kind == 6:
		return leased(lease.KindRevoke, id, 0, 0)
	default:
		return leased(lease.KindExpire, id, 0, kv.ClusterTime(rng.IntN(1000)))
	}
}

// TestMetamorphic applies the same entries one by one, and then in other batches, with
// sweeps, flushes and crashes at other times: the state and all results are the same.
func TestMetamorphic(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			entries := drawEntries(rng, 150)
			plain := newState(t)
			for _, e := range entries {
				plain.check(plain.apply([]*raftpb.Entry{e}))
			}
			want := plain.dump()
			wantHashes := plain.hashes()
			if h := plain.m.Keys().Head(); h.CompactRevision == 0 || h.Revision < 50 {
				t.Fatalf("the load does too little: revision %d, compacted %d", h.Revision, h.CompactRevision)
			}
			for variant := range 3 {
				st := newState(t)
				st.replay(rng, entries, 1+variant*variant*20)
				if diff := difference(st.dump(), want); diff != "" {
					t.Fatalf("variant %d: %s", variant, diff)
				}
				if got := st.hashes(); got != wantHashes {
					t.Fatalf("variant %d: hashes %s, want %s", variant, got, wantHashes)
				}
				for batch, results := range plain.got {
					for i, r := range results {
						if got, want := showResult(st.got[batch][i]), showResult(r); got != want {
							t.Fatalf("variant %d: entry %d, command %d: %s\nwant %s", variant, batch, i, got, want)
						}
					}
				}
			}
		})
	}
}

// replay applies the entries in batches of up to batchMax.
func (st *state) replay(rng *rand.Rand, entries []*raftpb.Entry, batchMax int) {
	last := entries[len(entries)-1].GetIndex()
	for st.m.AppliedIndex() < last {
		from := int(st.m.AppliedIndex()) - 1
		to := min(len(entries), from+1+rng.IntN(batchMax))
		st.check(st.apply(entries[from:to]))
		switch rng.IntN(30) {
		case 0:
			st.crash()
		case 1, 2, 3:
			st.check(st.m.Flush())
		case 4, 5, 6, 7:
			_, err := st.m.Sweep()
			st.check(err)
		}
	}
}
