package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// TestRefusedCommands: a refused command changes nothing, and does not affect the other commands of
// the entry.
func TestRefusedCommands(t *testing.T) {
	create := v2(v2tree.Command{Kind: v2tree.KindCreate, Path: []byte("/v2"), Value: []byte("x")})
	failing := txn(&mvcc.TxnOp{Success: []mvcc.Op{
		{Put: &mvcc.PutOp{Key: []byte("half"), Value: []byte("x")}},
		{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte{}, End: []byte{0}}}},
		{Put: &mvcc.PutOp{Key: []byte("missing"), IgnoreLease: true}},
	}})
	future := txn(&mvcc.TxnOp{Success: []mvcc.Op{
		{Put: &mvcc.PutOp{Key: []byte("half"), Value: []byte("x")}},
		{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("a")}, Revision: 1000}},
	}})
	leased := command{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte("l"), Lease: 7})}
	all := []struct {
		command
		refusal error // ErrBadCommand means a refusal of v2
	}{
		{put("a", "1"), nil},
		{keep("missing"), mvcc.ErrKeyNotFound},
		{create, nil},
		{create, ErrBadCommand},
		{failing, mvcc.ErrKeyNotFound},
		{put("b", "2"), nil},
		{future, mvcc.ErrFutureRevision},
		{leased, mvcc.ErrLeaseNotFound},
		{compact(100), mvcc.ErrFutureRevision},
		{compact(3), nil},
		{compact(3), mvcc.ErrCompacted},
		{compact(-1), mvcc.ErrCompacted},
		{del("a", ""), nil},
		{del("a", ""), nil},
		{put("c", "3"), nil},
	}
	var every, accepted []command
	for _, c := range all {
		every = append(every, c.command)
		if c.refusal == nil {
			accepted = append(accepted, c.command)
		}
	}
	st, want := newState(t), newState(t)
	st.check(st.apply([]*raftpb.Entry{entry(2, 5, every...)}))
	want.check(want.apply([]*raftpb.Entry{entry(2, 5, accepted...)}))
	if diff := difference(st.dump(), want.dump()); diff != "" {
		t.Errorf("refused commands left something: %s", diff)
	}
	n := 0
	for i, c := range all {
		got := st.got[2][i]
		var refused *v2tree.Error
		switch {
		case c.refusal == nil:
			if a, b := showResult(got), showResult(want.got[2][n]); a != b {
				t.Errorf("command %d: %s, without the refused ones %s", i, a, b)
			}
			n++
		case errors.Is(c.refusal, ErrBadCommand):
			if !errors.As(got.Err, &refused) {
				t.Errorf("command %d: %v, want a refusal of v2's", i, got.Err)
			}
		case !errors.Is(got.Err, c.refusal):
			t.Errorf("command %d: %v, want %v", i, got.Err, c.refusal)
		}
	}
}

// TestClusterTimeNeverGoesBack, whatever times the entries of successive leaders carry.
func TestClusterTimeNeverGoesBack(t *testing.T) {
	st := newState(t)
	for i, c := range []struct{ told, want kv.ClusterTime }{{100, 100}, {50, 100}, {0, 100}, {101, 101}, {-5, 101}} {
		st.check(st.apply([]*raftpb.Entry{entry(uint64(i+2), c.told, put("a", "1"))}))
		if got := st.m.ClusterTime(); got != c.want {
			t.Errorf("entry %d: time %d, want %d", i+2, got, c.want)
		}
	}
	st.check(st.m.Flush())
	st.crash()
	if got := st.m.ClusterTime(); got != 101 {
		t.Errorf("reopened: time %d, want 101", got)
	}
}

// TestDurableIndex: only what was flushed counts as durable, and it survives.
func TestDurableIndex(t *testing.T) {
	st := newState(t)
	durable := func() uint64 {
		index, err := st.m.DurableIndex()
		st.check(err)
		return index
	}
	for index := uint64(2); index < 10; index++ {
		st.check(st.apply([]*raftpb.Entry{entry(index, 0, put("a", "1"))}))
	}
	if got := durable(); got != 1 {
		t.Errorf("durable index %d before a flush, want 1", got)
	}
	st.check(st.m.Flush())
	if got := durable(); got != 9 {
		t.Errorf("durable index %d after the flush, want 9", got)
	}
	st.check(st.apply([]*raftpb.Entry{rawEntry(10, nil), entry(11, 0, put("a", "2"))}))
	if got := durable(); got != 9 || st.m.AppliedIndex() != 11 {
		t.Errorf("durable index %d, applied %d, want 9 and 11", got, st.m.AppliedIndex())
	}
	st.crash()
	if got := st.m.AppliedIndex(); got != 9 || st.m.Keys().Head().Revision != 9 {
		t.Errorf("after a crash at entry %d, revision %d, want 9 and 9", got, st.m.Keys().Head().Revision)
	}
}

// TestOpenNothing: a store without a state is refused.
func TestOpenNothing(t *testing.T) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // in memory
	if _, err := Open(db); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("opened an empty store: %v", err)
	}
}

// TestBatchEndsWithinEntry: an entry with very large changes is applied in several batches. After a
// crash between them the commands of the first batches are applied, and replay applies the others,
// once.
func TestBatchEndsWithinEntry(t *testing.T) {
	value := strings.Repeat("v", batchBytesMax/16)
	var commands []command
	for i := range 12 {
		commands = append(commands, put("busy", value), put(fmt.Sprint("k", i), "x"))
	}
	commands = append(commands, keep("missing"), del("k3", "k5"))
	entries := []*raftpb.Entry{entry(2, 5, put("a", "1")), entry(3, 7, commands...), entry(4, 9, put("z", "1"))}

	st, crashed := newState(t), newState(t)
	var disks []storage.CrashableFS
	crashed.onApplied = func() {
		crashed.check(crashed.m.Flush())
		disks = append(disks, crashed.fs.Crash(0, rand.New(rand.NewPCG(1, 1))))
	}
	crashed.check(crashed.apply(entries))
	crashed.onApplied = nil
	if len(disks) < 2 {
		t.Fatalf("%d batches", len(disks))
	}
	st.check(st.apply(entries))
	want := st.dump()
	if diff := difference(crashed.dump(), want); diff != "" {
		t.Errorf("flushes between the batches: %s", diff)
	}
	if got := len(st.got[3]); got != len(commands) {
		t.Fatalf("%d results of %d commands", got, len(commands))
	}
	if err := st.got[3][24].Err; !errors.Is(err, mvcc.ErrKeyNotFound) {
		t.Errorf("the refused command: %v", err)
	}
	for i, disk := range disks {
		crashed.fs = disk
		crashed.close()
		crashed.openStore()
		crashed.openMachine()
		at := crashed.m.AppliedIndex()
		if i == 0 && (at != 2 || crashed.m.Keys().Head().Revision < 4) {
			t.Errorf("the first batch ended at entry %d, revision %d", at, crashed.m.Keys().Head().Revision)
		}
		crashed.check(crashed.apply(entries[at-1:]))
		if diff := difference(crashed.dump(), want); diff != "" {
			t.Errorf("crash after batch %d, at entry %d: %s", i, at, diff)
		}
	}
}

// TestResultsOfOrigin shows that Apply returns the results of the entries which the origin has
// proposed, each entry's under its batch number, and no others.
func TestResultsOfOrigin(t *testing.T) {
	st := newState(t)
	from := func(index, origin uint64, commands ...command) *raftpb.Entry {
		data := Header{Origin: origin, Batch: 100 + index}.Append(nil)
		for _, c := range commands {
			data = AppendCommand(data, c.kind, c.payload)
		}
		return rawEntry(index, data)
	}
	entries := []*raftpb.Entry{
		from(2, 7, put("a", "1")), from(3, 8, put("a", "2"), put("b", "2")), from(4, 7),
		from(5, 7, put("a", "3"), keep("missing")), rawEntry(6, nil),
	}
	applied, err := st.m.Apply(entries, 7)
	st.check(err)
	if applied.Entries != len(entries) || applied.EventCount != 4 {
		t.Errorf("%d entries, %d events", applied.Entries, applied.EventCount)
	}
	var got []string
	for _, e := range applied.Results {
		for i, r := range e.Results {
			got = append(got, fmt.Sprintf("%d.%d/%d: %d %v", e.Batch, e.First+i, e.Commands, r.Revision, r.Err))
		}
	}
	want := "[102.0/1: 2 <nil> 105.0/2: 5 <nil> 105.1/2: 5 key not found]"
	if s := fmt.Sprint(got); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	none, err := st.m.Apply([]*raftpb.Entry{from(7, 0, put("a", "4"))}, 0)
	st.check(err)
	if len(none.Results) != 0 || none.EventCount != 1 {
		t.Errorf("without an origin: %d results, %d events", len(none.Results), none.EventCount)
	}
}
