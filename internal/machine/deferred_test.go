package machine

import (
	"testing"
	"testing/synctest"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// A compaction in the same entry as a transaction, or after it, waits until the transaction's
// ranges have been read.
func TestCompactionWaitsForDeferredReads(t *testing.T) {
	synctest.Test(t, testCompactionWaits)
}

func testCompactionWaits(t *testing.T) {
	st := newState(t)
	st.m.DeferReads(1)
	everything := kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	reads := &mvcc.TxnOp{Success: []mvcc.Op{
		{Range: &mvcc.RangeOp{KeyRange: everything}},
		{Delete: &mvcc.DeleteOp{KeyRange: everything}},
	}}
	compact := command{KindCompact, AppendCompact(nil, 4)}
	entries := []*raftpb.Entry{entry(2, 1, put("a", "1"), put("b", "2"), txn(reads), compact)}
	applied, err := st.m.Apply(entries, 1)
	st.check(err)
	if applied.Entries != 0 || len(applied.Results) != 1 || len(applied.Results[0].Results) != 3 {
		t.Fatalf("applied %d entries, with the results %+v; want all commands before the compaction", applied.Entries, applied.Results)
	}
	res := applied.Results[0].Results[2]
	read := st.m.BeginDeferred(&res)
	if read == nil || len(res.Txn.Results[0].Range.Keys) != 0 {
		t.Fatalf("the range was not deferred: %+v", res.Txn.Results[0].Range)
	}
	compacted := make(chan error, 1)
	go func() {
		applied, err := st.m.Apply(entries, 1)
		if err == nil && (len(applied.Results) != 1 || applied.Results[0].Results[0].Err != nil) {
			err = applied.Results[0].Results[0].Err
		}
		compacted <- err
	}()
	synctest.Wait()
	select {
	case err := <-compacted:
		t.Errorf("the compaction did not wait: %v", err)
		compacted <- err
	default:
	}
	st.check(read())
	st.check(<-compacted)
	if keys := res.Txn.Results[0].Range.Keys; len(keys) != 2 || string(keys[1].Value) != "2" {
		t.Errorf("the range has %+v, want a and b", keys)
	}
	if got := st.m.Keys().Head().CompactRevision; got != 4 {
		t.Errorf("the compact revision is %d, want 4", got)
	}
	if st.m.BeginDeferred(&res) != nil {
		t.Error("a complete result is read again")
	}
}
