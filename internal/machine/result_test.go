package machine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// A member whose clients do not wait for a transaction does not keep what its ranges find. Its
// state is that of the member whose client does, also after a transaction that a range refuses.
func TestResultsOfOtherMembersClients(t *testing.T) {
	const keys, size, ranges = 16, 256 << 10, 8
	everything := mvcc.Op{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}}}
	reads := &mvcc.TxnOp{Success: []mvcc.Op{{Put: &mvcc.PutOp{Key: []byte("x"), Value: []byte("1")}}}}
	for range ranges {
		reads.Success = append(reads.Success, everything)
	}
	refused := &mvcc.TxnOp{Success: []mvcc.Op{
		{Put: &mvcc.PutOp{Key: []byte("x"), Value: []byte("2")}},
		{Range: &mvcc.RangeOp{KeyRange: everything.Range.KeyRange, Revision: 1000}},
	}}
	var puts []command
	for i := range keys {
		puts = append(puts, put(fmt.Sprint("k", i), strings.Repeat("v", size)))
	}
	entries := []*raftpb.Entry{entry(2, 1, puts...), entry(3, 2, txn(reads), txn(refused), put("after", "y"))}
	apply := func(origin uint64) (st *state, results []EntryResults, allocated uint64) {
		st = newState(t)
		st.m.LimitMemory(1<<20, 64<<20)
		_, err := st.m.Apply(entries[:1], origin)
		st.check(err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		applied, err := st.m.Apply(entries[1:], origin)
		st.check(err)
		runtime.ReadMemStats(&after)
		return st, applied.Results, after.TotalAlloc - before.TotalAlloc
	}
	waits, results, some := apply(1)
	got := &results[0].Results[0].Txn
	if len(got.Results) != 1+ranges || len(got.Results[ranges].Range.Keys) != keys+1 || results[0].Results[1].Err == nil {
		t.Fatalf("the waiting client got %d results and the error %v", len(got.Results), results[0].Results[1].Err)
	}
	other, results, none := apply(2)
	if len(results) != 0 {
		t.Fatalf("another member has %d results", len(results))
	}
	for range 4 { // what the store allocates in its background is counted, too, and varies
		_, _, again := apply(2)
		none = min(none, again)
	}
	if some < ranges*keys*size || none > some/4 {
		t.Errorf("with a result %d bytes were allocated, without one %d", some, none)
	}
	if a, b := waits.dump(), other.dump(); a != b {
		t.Errorf("the states differ:\n%s\n%s", a, b)
	}
}
