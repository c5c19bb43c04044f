package machine

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

func leased(kind lease.Kind, id kv.LeaseID, ttl int64, deadline kv.ClusterTime) command {
	c := lease.Command{Kind: kind, ID: id, TTL: ttl, Deadline: deadline}
	return command{KindLease, c.Append(nil)}
}

func attach(key, value string, id kv.LeaseID) command {
	return command{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte(value), Lease: id})}
}

// leases prints all leases with their keys, and checks that tables k and c, and l and t, agree.
func (st *state) leases() string {
	st.t.Helper()
	r := st.m.Keys().Reading()
	all, err := lease.List(r)
	st.check(err)
	var out []string
	attached := 0
	for _, l := range all {
		keys, err := lease.Keys(r, l.ID)
		st.check(err)
		attached += len(keys)
		for _, k := range keys {
			if rec, ok, err := r.Get(k); err != nil || !ok || rec.Lease != l.ID {
				st.t.Errorf("table k has %q for lease %d, the key has %+v, %v, %v", k, l.ID, rec, ok, err)
			}
		}
		out = append(out, fmt.Sprintf("%d:%d@%d%q", l.ID, l.TTL, l.Deadline/kv.ClusterTime(time.Second), keys))
	}
	st.check(r.Walk(nil, nil, func(_ []byte, rec *kv.Record) ([]byte, bool) {
		if rec.Lease != 0 {
			attached--
		}
		return nil, true
	}))
	due, err := lease.Due(r, 0, math.MaxInt64, math.MaxInt)
	st.check(err)
	if attached != 0 || len(due) != len(all) {
		st.t.Errorf("%d keys too many in table k; %d deadlines of %d leases", attached, len(due), len(all))
	}
	return strings.Join(out, " ")
}

// TestLeases applies commands on a lease and its keys. Each step expects the revision after it, the
// refusal, and all leases with their keys. In the middle the state is lost and replayed.
func TestLeases(t *testing.T) {
	const s = kv.ClusterTime(time.Second)
	delKeys := func(key, end string) command {
		return command{KindDelete, AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key), End: []byte(end)}})}
	}
	steps := []struct {
		what string
		at   kv.ClusterTime
		c    command
		want string
	}{
		{"grant", 1 * s, leased(lease.KindGrant, 7, 10, 0), `1 7:10@11[]`},
		{"grant again", 1 * s, leased(lease.KindGrant, 7, 99, 0), `1 lease already exists 7:10@11[]`},
		{"grant a negative ID", 1 * s, leased(lease.KindGrant, -7, 20, 0), `1 7:10@11[] -7:20@21[]`},
		{"put", 1 * s, attach("/a", "1", 7), `2 7:10@11["/a"] -7:20@21[]`},
		{"put with a lease that is not there", 1 * s, attach("/a", "1", 8), `2 requested lease not found 7:10@11["/a"] -7:20@21[]`},
		{"overwrite with another lease", 1 * s, attach("/a", "2", -7), `3 7:10@11[] -7:20@21["/a"]`},
		{"renew the lease", 1 * s, command{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte("/a"), IgnoreLease: true})}, `4 7:10@11[] -7:20@21["/a"]`},
		{"overwrite without a lease", 1 * s, put("/a", "3"), `5 7:10@11[] -7:20@21[]`},
		{"attach more", 1 * s, txn(&mvcc.TxnOp{Success: []mvcc.Op{
			{Put: &mvcc.PutOp{Key: []byte("b"), Lease: 7}},
			{Put: &mvcc.PutOp{Key: []byte("a"), Lease: 7}},
			{Put: &mvcc.PutOp{Key: []byte("/v2"), Lease: -7}},
			{Put: &mvcc.PutOp{Key: []byte("c"), Lease: 7}},
		}}), `6 7:10@11["a" "b" "c"] -7:20@21["/v2"]`},
		{"a refused transaction", 1 * s, txn(&mvcc.TxnOp{Success: []mvcc.Op{
			{Put: &mvcc.PutOp{Key: []byte("b")}}, {Put: &mvcc.PutOp{Key: []byte("z"), Lease: 99}},
		}}), `6 requested lease not found 7:10@11["a" "b" "c"] -7:20@21["/v2"]`},
		{"v2 writes over it", 1 * s, v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v2"), Value: []byte("x")}), `7 7:10@11["a" "b" "c"] -7:20@21[]`},
		{"delete", 1 * s, delKeys("b", ""), `8 7:10@11["a" "c"] -7:20@21[]`},
		{"compact", 1 * s, compact(8), `8 7:10@11["a" "c"] -7:20@21[]`},
		{"renew", 5 * s, leased(lease.KindRenew, 7, 0, 0), `8 7:10@15["a" "c"] -7:20@21[]`},
		{"late expiry", 11 * s, leased(lease.KindExpire, 7, 0, 11*s), `8 7:10@15["a" "c"] -7:20@21[]`},
		{"an expiry before its time", 11 * s, leased(lease.KindExpire, 7, 0, 15*s), `8 7:10@15["a" "c"] -7:20@21[]`},
		{"renew what is over", 15 * s, leased(lease.KindRenew, 7, 0, 0), `8 requested lease not found 7:10@15["a" "c"] -7:20@21[]`},
		{"expire", 15 * s, leased(lease.KindExpire, 7, 0, 15*s), `9 -7:20@21[]`},
		{"expire again", 15 * s, leased(lease.KindExpire, 7, 0, 15*s), `9 -7:20@21[]`},
		{"renew an ended lease", 15 * s, leased(lease.KindRenew, 7, 0, 0), `9 requested lease not found -7:20@21[]`},
		{"revoke", 15 * s, leased(lease.KindRevoke, -7, 0, 0), `9 `},
		{"revoke again", 15 * s, leased(lease.KindRevoke, -7, 0, 0), `9 requested lease not found `},
		{"the longest TTL", 15 * s, leased(lease.KindGrant, 1, lease.TTLMax, 0), `9 1:9000000000@9000000015[]`},
	}
	st := newState(t)
	var entries []*raftpb.Entry
	for i, step := range steps {
		index := uint64(i + 2)
		entries = append(entries, entry(index, step.at, step.c))
		if i == len(steps)/2 {
			st.crash()
			st.check(st.apply(entries[st.m.AppliedIndex()-1 : len(entries)-1]))
		}
		st.check(st.apply(entries[i:]))
		res := st.got[index][0]
		got := fmt.Sprint(res.Revision, " ")
		if res.Err != nil {
			got += res.Err.Error() + " "
		}
		if got += st.leases(); got != step.want {
			t.Errorf("%s:\ngot  %s\nwant %s", step.what, got, step.want)
		}
	}
	// The keys of the lease were deleted with it.
	var last []string
	for _, key := range []string{"a", "c"} {
		_, ok, err := st.m.Keys().Reading().Get([]byte(key))
		st.check(err)
		last = append(last, fmt.Sprint(key, ok))
	}
	if got := strings.Join(last, " "); got != "afalse cfalse" {
		t.Errorf("after the expiry: %s", got)
	}
}
