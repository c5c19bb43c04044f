package machine

import (
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

func migrate(c migration.Command) command { return command{KindMigrate, c.Append(nil)} }

// moved is a change of the source: version 0 is a tombstone.
func moved(key string, main, sub, create, version int64, value string, id kv.LeaseID) migration.Change {
	r := kv.Record{Mod: kv.Revision{Main: main, Sub: sub}, Deleted: version == 0}
	if !r.Deleted {
		r.CreateRevision, r.Version, r.Value, r.Lease = create, version, []byte(value), id
	}
	return migration.Change{Key: []byte(key), Record: r}
}

// The content of a source that was compacted at revision 10.
var (
	movedBase = []migration.Change{
		moved("b", 2, 0, 2, 1, "old", 0), moved("a", 3, 0, 3, 1, "a3", 7), moved("gone", 4, 0, 4, 1, "g", 7),
		moved("b", 5, 0, 2, 2, "b5", 0), moved("gone", 10, 0, 0, 0, "", 0),
	}
	movedHistory = []migration.Change{
		moved("a", 11, 0, 3, 2, "a11", 7), moved("c", 11, 1, 11, 1, "c11", 8), moved("b", 12, 0, 0, 0, "", 0),
		moved("b", 14, 0, 14, 1, "b14", 0),
	}
	movedLeases = []migration.Lease{{ID: 7, TTL: 60, Left: 60}, {ID: 8, TTL: 30, Left: 10}}
)

func beginCommand(base int64) command {
	return migrate(migration.Command{Kind: migration.KindBegin, Source: 99, Endpoints: "old", Base: base})
}

// migrationLog is a whole migration, with commands that come twice and commands that are refused.
func migrationLog() []*raftpb.Entry {
	load := func(complete bool, changes ...migration.Change) command {
		return migrate(migration.Command{Kind: migration.KindLoad, Complete: complete, Changes: changes})
	}
	replay := func(changes ...migration.Change) command {
		return migrate(migration.Command{Kind: migration.KindReplay, Seen: 20, Changes: changes})
	}
	finish := func(revision int64) command {
		return migrate(migration.Command{Kind: migration.KindFinish, Revision: revision})
	}
	return []*raftpb.Entry{
		entry(2, 100, del("nothing", ""), beginCommand(9), put("early", "x")),
		entry(3, 200, load(false, moved("stale", 3, 0, 3, 1, "", 0))),
		entry(4, 300, beginCommand(10), replay(movedHistory...), finish(10)),
		entry(5, 400, load(false, movedBase[:3]...)),
		entry(6, 500, load(true, movedBase...), load(true, movedBase...)),
		entry(7, 600, replay(movedHistory[:2]...), replay(movedHistory...), put("k", "v"), finish(13)),
		entry(8, 700, replay(moved("a", 15, 0, 3, 9, "wrong version", 0))),
		entry(9, 800, v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v2"), Value: []byte("v")}),
			command{KindLease, (&lease.Command{Kind: lease.KindGrant, ID: 5, TTL: 5}).Append(nil)},
			command{KindLease, (&lease.Command{Kind: lease.KindRenew, ID: 7}).Append(nil)},
			command{KindAuth, (&auth.Command{Kind: auth.KindV3UserAdd, Name: "u"}).Append(nil)},
			compact(12)),
		entry(10, 900, migrate(migration.Command{Kind: migration.KindAuth, Auth: auth.Restoration{
			Revision: 5, Users: []auth.User{{Name: "root", Hash: "h", Roles: []string{"root"}}},
			Roles: []auth.RestoredRole{{Name: "root"}, {Name: "r", Permissions: []auth.Permission{{Access: auth.Read, KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte("c")}}}}},
		}})),
		entry(11, 1000, migrate(migration.Command{Kind: migration.KindLeases, Leases: movedLeases}), finish(14), put("d", "15"), finish(15)),
	}
}

// migrationResults is the error of each command of migrationLog; nil for those that are applied.
var migrationResults = map[uint64][]error{
	2:  {nil, nil, migration.ErrMigrating},
	3:  {nil},
	4:  {nil, migration.ErrPhase, migration.ErrPhase},
	5:  {nil},
	6:  {nil, migration.ErrPhase},
	7:  {nil, nil, migration.ErrMigrating, migration.ErrRevision},
	8:  {mvcc.ErrHistory},
	9:  {migration.ErrMigrating, migration.ErrMigrating, migration.ErrMigrating, migration.ErrMigrating, migration.ErrMigrating},
	10: {nil},
	11: {nil, nil, nil, migration.ErrPhase},
}

// TestMigrate follows a migration, however its log is cut into batches and wherever it is restarted
// in between, and compares the keys with those of an import of the same content.
func TestMigrate(t *testing.T) {
	want := ""
	for _, cut := range []struct {
		name  string
		apply func(st *state)
	}{
		{"at once", func(st *state) { st.check(st.apply(migrationLog())) }},
		{"one by one", func(st *state) {
			for _, e := range migrationLog() {
				st.check(st.apply([]*raftpb.Entry{e}))
			}
		}},
		{"with crashes", func(st *state) {
			for i := range migrationLog() {
				st.check(st.apply(migrationLog()[i : i+1]))
				st.check(st.m.Flush())
				st.crash()
			}
		}},
		{"read and forgotten", func(st *state) { // what was not durable is applied again
			st.check(st.apply(migrationLog()[:6]))
			st.crash()
			st.check(st.apply(migrationLog()))
		}},
	} {
		st := newState(t)
		cut.apply(st)
		for index, results := range migrationResults {
			for i, err := range results {
				if got := st.got[index][i]; got == nil || !errors.Is(got.Err, err) || err == nil && got.Err != nil {
					t.Errorf("%s: command %d of entry %d: %+v, want %v", cut.name, i, index, got, err)
				}
			}
		}
		v, err := st.m.Verify()
		if err != nil || v != (Verified{Revision: 15, Keys: 4, Leases: 2}) {
			t.Errorf("%s: verified %+v, %v", cut.name, v, err)
		}
		state := st.m.Migration()
		if *state != (migration.State{Phase: migration.Finished, Source: 99, Endpoints: "old", Base: 10, Loaded: kv.Revision{Main: 10}, Seen: 20, Heard: 1000}) {
			t.Errorf("%s: state %+v", cut.name, state)
		}
		sum, revision, err := st.m.Hash(func() error { return nil })
		st.check(err)
		if got := fmt.Sprintf("%08x at %d", sum, revision); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%s: hash %s, want %s", cut.name, got, want)
		}
		if got, want := historyHash(t, st.m), historyHash(t, imported(t)); got != want {
			t.Errorf("%s: keys and history have hash %+v, those of an import %+v", cut.name, got, want)
		}
	}
}

// historyHash is the checksum of keys and history up to the end of the migration.
func historyHash(t *testing.T, m *Machine) mvcc.Hash {
	t.Helper()
	h, err := m.keys.Hash(14, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// movedChanges are all changes, as a mvcc.History.
type movedChanges struct{}

func (movedChanges) Changes(visit func(key []byte, r *kv.Record) error) error {
	for _, changes := range [][]migration.Change{movedBase, movedHistory} {
		for _, c := range changes {
			r := c.Record
			r.Value = nil // the caller must use Value if it keeps a value
			if c.Record.Mod.Main > 10 {
				r.Value = c.Record.Value
			}
			if err := visit(c.Key, &r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (movedChanges) Value(rev kv.Revision) ([]byte, error) {
	for _, changes := range [][]migration.Change{movedBase, movedHistory} {
		for _, c := range changes {
			if c.Record.Mod == rev {
				return c.Record.Value, nil
			}
		}
	}
	return nil, fmt.Errorf("no value at revision %v", rev)
}

// imported is the state that an import makes of the same content.
func imported(t *testing.T) *Machine {
	t.Helper()
	fs := storage.NewCrashableFS()
	db, err := storage.OpenState("imported", storage.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	im, err := ImportHistory(db, HistoryImport{
		From: movedChanges{}, CompactRevision: 10, Index: 1, Term: 1, Members: []membership.Member{{ID: 1}}, FS: fs, Dir: "scratch",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = im.Finish()
	if err := errors.Join(err, im.Close()); err != nil {
		t.Fatal(err)
	}
	m, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = m.Close(), db.Close() })
	return m
}

// TestReadsWhileLoading: an incomplete set of keys is not readable, even after a restart, and a
// backup of it is not restored.
func TestReadsWhileLoading(t *testing.T) {
	st := newState(t)
	st.check(st.apply(migrationLog()[:4]))
	for _, name := range []string{"loading", "restarted"} {
		m := st.m
		if _, err := m.keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("a")}}, &mvcc.Collector{}); !errors.Is(err, mvcc.ErrLoading) {
			t.Errorf("%s: read a key: %v", name, err)
		}
		if _, err := m.keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte{0}}, CountOnly: true}, &mvcc.Collector{}); !errors.Is(err, mvcc.ErrLoading) {
			t.Errorf("%s: count keys: %v", name, err)
		}
		if _, _, err := m.keys.Reading().Get([]byte("a")); !errors.Is(err, mvcc.ErrLoading) {
			t.Errorf("%s: read a key of v2: %v", name, err)
		}
		if _, err := m.keys.HashKeys(0, func() error { return nil }); !errors.Is(err, mvcc.ErrLoading) {
			t.Errorf("%s: hash: %v", name, err)
		}
		st.check(st.m.Flush())
		st.crash()
	}
	source, err := st.m.Snapshot(1)
	st.check(err)
	defer source.Close() //nolint:errcheck // only read
	tables, err := st.db.NewTables("tables")
	st.check(err)
	stream, err := snapshot.NewStream(source)
	st.check(err)
	if err := Restore(tables, stream, Restoration{Index: 1, Term: 1}); !errors.Is(err, errIncomplete) {
		t.Errorf("restore of a backup: %v", err)
	}
	st.check(tables.Discard())
	st.check(st.apply(migrationLog()[4:]))
	if r, ok, err := st.m.keys.Reading().Get([]byte("a")); err != nil || !ok || string(r.Value) != "a11" {
		t.Errorf("read after loading: %+v, %v, %v", r, ok, err)
	}
}

// TestMigrateNeedsNewCluster: a cluster that has content is not overwritten.
func TestMigrateNeedsNewCluster(t *testing.T) {
	for name, first := range map[string]command{
		"a key":   put("k", "v"),
		"a lease": {KindLease, (&lease.Command{Kind: lease.KindGrant, ID: 5, TTL: 5}).Append(nil)},
		"a user":  {KindAuth, (&auth.Command{Kind: auth.KindV3UserAdd, Name: "u"}).Append(nil)},
	} {
		st := newState(t)
		st.check(st.apply([]*raftpb.Entry{entry(2, 1, first), entry(3, 2, beginCommand(10))}))
		if err := st.got[3][0].Err; !errors.Is(err, migration.ErrNotNew) {
			t.Errorf("migration to a cluster with %s: %v", name, err)
		}
	}
	st := newState(t)
	other := migrate(migration.Command{Kind: migration.KindBegin, Source: 5, Base: 20})
	st.check(st.apply([]*raftpb.Entry{entry(2, 1, beginCommand(10), other, beginCommand(9))}))
	for i, want := range []error{nil, migration.ErrOtherSource, migration.ErrRevision} {
		if err := st.got[2][i].Err; !errors.Is(err, want) {
			t.Errorf("begin %d: %v, want %v", i, err, want)
		}
	}
}
