package machine

import (
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

func alarmed(do alarm.Action, kind alarm.Kind, member uint64) command {
	c := alarm.Command{Action: do, Kind: kind, Member: member}
	return command{KindAlarm, c.Append(nil)}
}

// hashes prints the checksums of the whole state, of the keys at the current revision, and of the
// keys at some earlier ones.
func (st *state) hashes() string {
	st.t.Helper()
	calls := 0
	pause := func() error { calls++; return nil }
	sum, revision, err := st.m.Hash(pause)
	st.check(err)
	head := st.m.Keys().Head()
	if revision != head.Revision {
		st.t.Errorf("hash of revision %d, the store is at %d", revision, head.Revision)
	}
	out := fmt.Sprintf("%08x at %d", sum, revision)
	for rev := max(head.CompactRevision, 1); rev <= head.Revision; rev += 7 {
		h, err := st.m.Keys().Hash(rev, pause)
		st.check(err)
		out += fmt.Sprintf(" %+v", h)
	}
	present, err := st.m.Keys().Hash(0, pause)
	st.check(err)
	if calls == 0 {
		st.t.Error("pause was not called")
	}
	return out + fmt.Sprintf(" %+v", present)
}

// TestAlarmsRefuse checks which commands each alarm refuses, within one entry and the next.
func TestAlarmsRefuse(t *testing.T) {
	putTxn := &mvcc.TxnOp{Failure: []mvcc.Op{{Txn: &mvcc.TxnOp{Success: []mvcc.Op{{Put: &mvcc.PutOp{Key: []byte("t")}}}}}}}
	deleteTxn := &mvcc.TxnOp{Success: []mvcc.Op{{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("t")}}}}}
	adds := []command{
		put("k", "v"), txn(putTxn), leased(lease.KindGrant, 9, 10, 0),
		v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v"), Value: []byte("x")}),
		v2(v2tree.Command{Kind: v2tree.KindCreateInOrder, Path: []byte("/q"), Value: []byte("x")}),
	}
	changes := []command{
		del("a", "b"), txn(deleteTxn), leased(lease.KindExpire, 7, 0, 1),
		v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/d"), Recursive: true, Dir: true}),
	}
	always := []command{leased(lease.KindRenew, 7, 0, 0)}

	st := newState(t)
	index := uint64(1)
	try := func(name string, c command, want error) {
		t.Helper()
		index++
		before := st.m.Keys().Head().Revision
		st.check(st.apply([]*raftpb.Entry{entry(index, kv.ClusterTime(index), c)}))
		if got := st.got[index][0].Err; !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if want != nil && st.m.Keys().Head().Revision != before {
			t.Errorf("%s moved the revision", name)
		}
	}
	try("lease", leased(lease.KindGrant, 7, 1<<20, 0), nil)
	try("directory", v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/d"), Dir: true}), nil)
	try("alarm of no member", alarmed(alarm.Activate, alarm.NoSpace, 5), membership.ErrNotFound)

	try("activate", alarmed(alarm.Activate, alarm.NoSpace, 1), nil)
	for i, c := range adds {
		try(fmt.Sprint("without space, addition ", i), c, alarm.ErrNoSpace)
	}
	for i, c := range append(always, del("a", "b"), compact(2)) {
		try(fmt.Sprint("without space, change ", i), c, nil)
	}
	st.check(st.m.Flush())
	st.crash()
	try("corrupt", alarmed(alarm.Raise, alarm.Corrupt, 0), nil)
	for i, c := range append(append(adds, changes...), compact(3)) {
		try(fmt.Sprint("damaged, change ", i), c, alarm.ErrCorrupt)
	}
	for i, c := range always {
		try(fmt.Sprint("damaged, renewal ", i), c, nil)
	}
	try("disarm", alarmed(alarm.Deactivate, alarm.Corrupt, 0), nil)
	try("without space again", adds[0], alarm.ErrNoSpace)
	try("a member's word about an operator's alarm", alarmed(alarm.Lift, alarm.NoSpace, 1), nil)
	try("still without space", adds[0], alarm.ErrNoSpace)

	// Within one entry, and one batch.
	index++
	st.check(st.apply([]*raftpb.Entry{entry(index, 100, adds[0], alarmed(alarm.Deactivate, alarm.NoSpace, 1), adds[0],
		alarmed(alarm.Activate, alarm.NoSpace, 1), adds[0], alarmed(alarm.Deactivate, alarm.NoSpace, 1), changes[3])}))
	for i, want := range []error{alarm.ErrNoSpace, nil, nil, nil, alarm.ErrNoSpace, nil, nil} {
		if got := st.got[index][i].Err; !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("command %d of the entry: %v, want %v", i, got, want)
		}
	}
	for i, c := range append(adds[:2], changes[0]) {
		try(fmt.Sprint("in order again, ", i), c, nil)
	}
}
