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

// TestLeasesAhead applies extensions, ends, and renewals of extended leases. Each step expects the
// leases as deadline+ahead, and the changes that OnLeases reports.
func TestLeasesAhead(t *testing.T) {
	const s = kv.ClusterTime(time.Second)
	extend := func(term uint64, ids ...kv.LeaseID) command {
		c := lease.Extension(term, ids)
		return command{KindLease, c.Append(nil)}
	}
	end := func(term uint64, id kv.LeaseID, deadline kv.ClusterTime) command {
		c := lease.Command{Kind: lease.KindEnd, ID: id, Deadline: deadline, Term: term}
		return command{KindLease, c.Append(nil)}
	}
	steps := []struct {
		what string
		at   kv.ClusterTime
		c    command
		want string
	}{
		{"grant", 1 * s, leased(lease.KindGrant, 7, 10, 0), `7@11s+0s`},
		{"grant another", 1 * s, leased(lease.KindGrant, 8, 20, 0), `7@11s+0s 8@21s+0s`},
		{"attach", 1 * s, attach("a", "1", 7), `7@11s+0s 8@21s+0s`},
		{"extend by another term's leader", 2 * s, extend(2, 7, 8), `7@11s+0s 8@21s+0s`},
		{"extend, also one that is not there", 2 * s, extend(1, 9, 8, 7), `7@42s+30s 8@1m22s+1m0s changed 8@1m22s 7@42s`},
		{"extend again", 2 * s, extend(1, 7), `7@42s+30s 8@1m22s+1m0s`},
		{"end by another term's leader", 3 * s, end(2, 7, 42*s), `7@42s+30s 8@1m22s+1m0s`},
		{"end after a change of the deadline", 3 * s, end(1, 7, 11*s), `7@42s+30s 8@1m22s+1m0s`},
		{"renew by command", 5 * s, leased(lease.KindRenew, 7, 0, 0), `7@42.000000001s+27.000000001s 8@1m22s+1m0s changed 7@42.000000001s promised 15s`},
		{"end what was renewed meanwhile", 5 * s, end(1, 7, 42*s), `7@42.000000001s+27.000000001s 8@1m22s+1m0s`},
		{"renew by command beyond the deadline", 34 * s, leased(lease.KindRenew, 7, 0, 0), `7@44s+0s 8@1m22s+1m0s changed 7@44s promised 44s`},
		{"extend what is over", 44 * s, extend(1, 7), `7@44s+0s 8@1m22s+1m0s`},
		{"end what is not there", 44 * s, end(1, 9, 44*s), `7@44s+0s 8@1m22s+1m0s`},
		{"end before the deadline", 44 * s, end(1, 8, 82*s), `7@44s+0s changed 8 ended`},
		{"expire", 44 * s, leased(lease.KindExpire, 7, 0, 44*s), ` changed 7 ended`},
	}
	st := newState(t)
	var changed string
	st.m.OnLeases(func(changes []lease.Change, replaced bool) func() {
		if replaced {
			t.Error("all leases are replaced")
		}
		changed = " changed"
		for _, c := range changes {
			switch {
			case c.Ended:
				changed += fmt.Sprintf(" %d ended", c.ID)
			case c.Promised != 0:
				changed += fmt.Sprintf(" %d@%v promised %v", c.ID, time.Duration(c.Deadline), time.Duration(c.Promised))
			default:
				changed += fmt.Sprintf(" %d@%v", c.ID, time.Duration(c.Deadline))
			}
		}
		return func() { changed += "" }
	})
	for i, step := range steps {
		changed = ""
		st.check(st.apply([]*raftpb.Entry{entry(uint64(i+2), step.at, step.c)}))
		all, err := lease.List(st.m.Keys().Reading())
		st.check(err)
		var got []string
		for _, l := range all {
			got = append(got, fmt.Sprintf("%d@%v+%v", l.ID, time.Duration(l.Deadline), time.Duration(l.Ahead)))
		}
		if text := strings.Join(got, " ") + changed; text != step.want {
			t.Errorf("%s:\ngot  %s\nwant %s", step.what, text, step.want)
		}
		st.leases()
	}
	if _, ok, err := st.m.Keys().Reading().Get([]byte("a")); ok || err != nil {
		t.Errorf("the key of the ended lease: %v, %v", ok, err)
	}
}
