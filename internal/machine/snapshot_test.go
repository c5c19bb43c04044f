package machine_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
	"cairn/internal/watch"
)

// newState returns a machine over a new state.
func newState(t *testing.T) (*storage.Store, *machine.Machine) {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.Initialize(db, 1, 1, []membership.Member{{ID: 1, PeerURLs: []string{"http://1"}}}); err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return db, m
}

// install installs the state of from in to, by tables in dir.
func install(t *testing.T, to, from *machine.Machine, dir string) {
	t.Helper()
	source, err := from.Snapshot(7)
	if err != nil {
		t.Fatal(err)
	}
	in, err := snapshot.NewStream(source)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	tables, err := to.NewTables(dir)
	if err != nil {
		t.Fatal(err)
	}
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = tables.Add(key, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tables.Finish(), source.Close(), to.Install(tables, in.Meta())); err != nil {
		t.Fatal(err)
	}
}

// The load of TestReadersDuringInstall: revision R has the key a and the key b with the value R,
// and the key odd when R is odd. A compaction is in the same entry and does not move the revision.
func revisionEntry(index uint64, compact bool) *raftpb.Entry {
	value := []byte(strconv.FormatUint(index, 10)) // entry 2 makes revision 2
	put := func(key string) mvcc.Op { return mvcc.Op{Put: &mvcc.PutOp{Key: []byte(key), Value: value}} }
	t := &mvcc.TxnOp{Success: []mvcc.Op{put("a"), put("b")}}
	if index%2 == 1 {
		t.Success = append(t.Success, put("odd"))
	} else {
		t.Success = append(t.Success, mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("odd")}}})
	}
	e := one(index, machine.KindTxn, machine.AppendTxn(nil, t))
	if compact {
		e.Data = machine.AppendCommand(e.Data, machine.KindCompact, machine.AppendCompact(nil, int64(index)))
	}
	return e
}

// TestReadersDuringInstall reads and watches while snapshots are installed, of a state that
// advances, deletes, and compacts to its newest revision. Every read must be of one revision, and
// never of an earlier one than the read before.
func TestReadersDuringInstall(t *testing.T) {
	fromDB, from := newState(t)
	toDB, to := newState(t)
	defer func() {
		if err := errors.Join(from.Close(), fromDB.Close(), to.Close(), toDB.Close()); err != nil {
			t.Error(err)
		}
	}()
	hub := watch.New(to.Keys(), watch.Limits{})
	defer hub.Close()
	var stop atomic.Bool
	var readers sync.WaitGroup
	fail := func(err error) {
		if stop.CompareAndSwap(false, true) {
			t.Error(err)
		}
	}
	for range 3 {
		readers.Go(func() {
			if err := readRevisions(to.Keys(), &stop); err != nil {
				fail(err)
			}
		})
	}
	stream := hub.NewStream()
	defer stream.Close()
	stream.Watch(watch.Spec{Range: kv.KeyRange{Key: []byte("a")}, Start: 2})
	next, told := int64(2), 0
	index := uint64(1)
	for i := range 60 {
		var h allResults
		for n := range 7 {
			index++
			if err := h.apply(from, []*raftpb.Entry{revisionEntry(index, i%3 == 2 && n == 5)}); err != nil {
				t.Fatal(err)
			}
		}
		for more := true; more; {
			var err error
			if more, err = from.Sweep(); err != nil {
				t.Fatal(err)
			}
		}
		install(t, to, from, fmt.Sprint("receive/", i))
		hub.PublishReplaced(to.Keys().Head().Revision)
		hub.Dispatch()
		for more := true; more; {
			deliveries, err := stream.Take()
			if err != nil {
				t.Fatal(err)
			}
			more = len(deliveries) > 0
			for _, d := range deliveries {
				if d.Compacted > 0 {
					if d.Compacted < next {
						t.Fatalf("watcher at revision %d ended by a compaction at %d", next, d.Compacted)
					}
					next = d.Compacted
					stream.Watch(watch.Spec{Range: kv.KeyRange{Key: []byte("a")}, Start: next})
					continue
				}
				for _, e := range d.Events {
					if e.Revision() != next {
						t.Fatalf("event of revision %d, want %d", e.Revision(), next)
					}
					next++
					told++
				}
			}
		}
		if head := to.Keys().Head().Revision; next != head+1 || head != int64(index) {
			t.Fatalf("events up to revision %d, the store is at %d, entry %d", next-1, head, index)
		}
	}
	stop.Store(true)
	readers.Wait()
	if told < 60 {
		t.Errorf("only %d events were received", told)
	}
}

// readRevisions reads until done is closed.
func readRevisions(keys *mvcc.Store, stop *atomic.Bool) error {
	last := int64(0)
	for !stop.Load() {
		var c mvcc.Collector
		sum, err := keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}}, &c)
		if err != nil {
			return err
		}
		if sum.Revision < last {
			return fmt.Errorf("revision %d after %d", sum.Revision, last)
		}
		last = sum.Revision
		if err := checkRevision(sum.Revision, c.Keys); err != nil {
			return err
		}
		// One key at a time, of one revision.
		get := func(key string) mvcc.Op {
			return mvcc.Op{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte(key)}}}
		}
		res, err := keys.ReadTxn(&mvcc.TxnOp{Success: []mvcc.Op{get("a"), get("b"), get("odd")}}, nil)
		if err != nil {
			return err
		}
		var got []mvcc.KeyRecord
		for i := range res.Results {
			got = append(got, res.Results[i].Range.Keys...)
		}
		if err := checkRevision(res.Revision, got); err != nil {
			return fmt.Errorf("transaction: %w", err)
		}
	}
	return nil
}

func checkRevision(revision int64, keys []mvcc.KeyRecord) error {
	want := map[string]bool{}
	if revision > 1 {
		want["a"], want["b"] = true, true
		if revision%2 == 1 {
			want["odd"] = true
		}
	}
	if len(keys) != len(want) {
		return fmt.Errorf("revision %d has %d keys, want %d", revision, len(keys), len(want))
	}
	for _, k := range keys {
		if !want[string(k.Key)] || string(k.Value) != strconv.FormatInt(revision, 10) {
			return fmt.Errorf("revision %d has %s = %s", revision, k.Key, k.Value)
		}
	}
	return nil
}

// TestInstallReplacesAll shows that the machine keeps nothing of the old state in memory.
func TestInstallReplacesAll(t *testing.T) {
	fromDB, from := newState(t)
	toDB, to := newState(t)
	var h allResults
	publish := membership.Command{Kind: membership.KindPublish, ID: 1, Name: "n1", ClientURLs: []string{"http://c"}}
	raise := alarm.Command{Action: alarm.Activate, Kind: alarm.NoSpace, Member: 1}
	user := auth.Command{Kind: auth.KindV3UserAdd, Name: "u"}
	err := h.apply(from, []*raftpb.Entry{
		one(2, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k"), Value: []byte("v")})),
		one(3, machine.KindMembership, publish.Append(nil)),
		one(4, machine.KindAuth, user.Append(nil)),
		one(5, machine.KindAlarm, raise.Append(nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	// The writer's cache of a key must be dropped, too.
	before := one(2, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("old"), Value: []byte("old")}))
	if err := h.apply(to, []*raftpb.Entry{before}); err != nil {
		t.Fatal(err)
	}
	install(t, to, from, "receive/1")
	if to.AppliedIndex() != 5 || to.Keys().Head().Keys() != 1 || to.Members()[0].Name != "n1" ||
		to.Auth().State().User("u") == nil || len(to.Alarms().List(alarm.None)) != 1 {
		t.Errorf("entry %d, %d keys, members %+v, users %v, alarms %v", to.AppliedIndex(), to.Keys().Head().Keys(), to.Members(),
			to.Auth().State().UserNames(), to.Alarms().List(alarm.None))
	}
	at, err := to.SnapshotMetadata()
	if err != nil || at.GetIndex() != 5 || len(at.GetConfState().GetVoters()) != 1 {
		t.Errorf("what it would be streamed as: %v, %v", at, err)
	}
	// Entries that are in the snapshot may still arrive; later ones are applied.
	lift := alarm.Command{Action: alarm.Deactivate, Kind: alarm.NoSpace, Member: 1}
	create := &mvcc.TxnOp{Success: []mvcc.Op{{Put: &mvcc.PutOp{Key: []byte("old"), Value: []byte("new")}}}}
	err = h.apply(to, []*raftpb.Entry{before, one(6, machine.KindAlarm, lift.Append(nil)), one(7, machine.KindTxn, machine.AppendTxn(nil, create))})
	if err != nil {
		t.Fatal(err)
	}
	var c mvcc.Collector
	if _, err := to.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("old")}}, &c); err != nil || len(c.Keys) != 1 || c.Keys[0].Version != 1 {
		t.Errorf("a key that the snapshot does not have, put again: %+v, %v", c.Keys, err)
	}
	source, err := to.Snapshot(7)
	if err != nil {
		t.Fatal(err)
	}
	if source.Meta().Index != 7 || source.Meta().ClusterID != 7 {
		t.Errorf("header %+v", source.Meta())
	}
	tables, err := to.NewTables("receive/2")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tables.Finish(), to.Install(tables, source.Meta())); err == nil {
		t.Error("a snapshot of an entry that is applied was installed")
	}
	if err := errors.Join(source.Close(), tables.Discard(), from.Close(), fromDB.Close(), to.Close(), toDB.Close()); err != nil {
		t.Error(err)
	}
}
