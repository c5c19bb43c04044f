package machine_test

import (
	"errors"
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// guarded is a machine with authentication enabled and the user u, whose permissions are readwrite
// of [/u/, /u0) and read of /r.
type guarded struct {
	t     *testing.T
	fs    storage.CrashableFS
	db    *storage.Store
	m     *machine.Machine
	index uint64
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	fs, _ := foundTest(t)
	g := &guarded{t: t, fs: fs, index: 1}
	g.db, g.m = openTest(t, g.fs)
	t.Cleanup(func() { _ = errors.Join(g.m.Close(), g.db.Close()) })
	grant := func(key, end string, a auth.Access) auth.Command {
		return auth.Command{Kind: auth.KindV3RoleGrant, Name: "r", Permission: auth.Permission{KeyRange: keyRange(key, end), Access: a}}
	}
	for _, c := range []auth.Command{
		{Kind: auth.KindV2UserPut, Name: "root", Hash: "h"},
		{Kind: auth.KindV3UserAdd, Name: "u", Hash: "h"},
		{Kind: auth.KindV3RoleAdd, Name: "r"},
		grant("/u/", "/u0", auth.ReadWrite),
		grant("/r", "", auth.Read),
		grant("/w", "", auth.Write),
		{Kind: auth.KindV3UserGrant, Name: "u", Role: "r"},
		{Kind: auth.KindEnable, V2: true},
	} {
		g.wants(nil, machine.KindAuth, c.Append(nil))
	}
	return g
}

func keyRange(key, end string) kv.KeyRange {
	r := kv.KeyRange{Key: []byte(key)}
	if end != "" {
		r.End = []byte(end)
	}
	return r
}

// wants applies a command of the cluster itself.
func (g *guarded) wants(want error, kind machine.Kind, payload []byte) *machine.Result {
	g.t.Helper()
	g.index++
	var h allResults
	if err := h.apply(g.m, []*raftpb.Entry{one(g.index, kind, payload)}); err != nil {
		g.t.Fatal(err)
	}
	if got := h.results[0].Err; !errors.Is(got, want) {
		g.t.Errorf("entry %d: %v, want %v", g.index, got, want)
	}
	return h.results[0]
}

func (g *guarded) as(user string, want error, kind machine.Kind, payload []byte) *machine.Result {
	g.t.Helper()
	actor := &auth.Actor{Name: user, Revision: g.m.Auth().State().Revision}
	return g.wants(want, machine.KindAs, machine.AppendAs(nil, actor, kind, payload))
}

func (g *guarded) txn(want error, ops ...mvcc.Op) {
	g.t.Helper()
	for _, t := range []*mvcc.TxnOp{
		{Success: ops},
		{Failure: ops},
		{Success: []mvcc.Op{{Txn: &mvcc.TxnOp{Failure: []mvcc.Op{{Txn: &mvcc.TxnOp{Success: ops}}}}}}},
	} {
		g.as("u", want, machine.KindTxn, machine.AppendTxn(nil, t))
	}
}

// TestNestedTransactionsAreAuthorized: etcd once executed nested transactions without the user's
// permission (CVE-2026-33343).
func TestNestedTransactionsAreAuthorized(t *testing.T) {
	g := newGuarded(t)
	g.txn(nil, mvcc.Op{Put: &mvcc.PutOp{Key: []byte("/u/a")}})
	for _, op := range []mvcc.Op{
		{Put: &mvcc.PutOp{Key: []byte("/x")}},
		{Put: &mvcc.PutOp{Key: []byte("/r")}},
		{Delete: &mvcc.DeleteOp{KeyRange: keyRange("/x", "")}},
		{Delete: &mvcc.DeleteOp{KeyRange: keyRange("/u/", "/u1")}},
		{Range: &mvcc.RangeOp{KeyRange: keyRange("/x", "")}},
		{Range: &mvcc.RangeOp{KeyRange: keyRange("/w", "")}},
		{Txn: &mvcc.TxnOp{Compares: []mvcc.Compare{{KeyRange: keyRange("/x", "")}}}},
	} {
		g.txn(auth.Denied, op)
		g.txn(auth.Denied, mvcc.Op{Put: &mvcc.PutOp{Key: []byte("/u/a")}}, op)
	}
}

// TestPrevKVIsRead: etcd once returned in prev_kv of a transaction values that the user must not
// read (CVE-2026-44283).
func TestPrevKVIsRead(t *testing.T) {
	g := newGuarded(t)
	w := []byte("/w")
	g.as("u", nil, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: w}))
	g.as("u", auth.Denied, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: w, PrevKV: true}))
	g.as("u", auth.Denied, machine.KindDelete, machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: keyRange("/w", ""), PrevKV: true}))
	g.txn(nil, mvcc.Op{Put: &mvcc.PutOp{Key: w}})
	g.txn(auth.Denied, mvcc.Op{Put: &mvcc.PutOp{Key: w, PrevKV: true}})
	g.txn(auth.Denied, mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: keyRange("/w", ""), PrevKV: true}})
}

// TestLeasesOfOthers: a user who lacks write permission for a key of a lease can neither revoke the
// lease nor attach a key to it; etcd once allowed it in transactions (CVE-2026-44283).
func TestLeasesOfOthers(t *testing.T) {
	g := newGuarded(t)
	command := func(kind lease.Kind, id kv.LeaseID) []byte {
		c := lease.Command{Kind: kind, ID: id, TTL: 1000}
		return c.Append(nil)
	}
	put := func(key string, id kv.LeaseID) *mvcc.PutOp { return &mvcc.PutOp{Key: []byte(key), Lease: id} }
	for id := kv.LeaseID(1); id <= 3; id++ {
		g.as("u", nil, machine.KindLease, command(lease.KindGrant, id))
	}
	g.as("root", nil, machine.KindPut, machine.AppendPut(nil, put("/x", 1)))
	g.as("root", nil, machine.KindPut, machine.AppendPut(nil, put("/u/first", 2)))
	g.as("root", nil, machine.KindPut, machine.AppendPut(nil, put("/w", 2)))

	g.as("u", auth.Denied, machine.KindPut, machine.AppendPut(nil, put("/u/a", 1)))
	g.txn(auth.Denied, mvcc.Op{Put: put("/u/a", 1)})
	g.as("u", nil, machine.KindPut, machine.AppendPut(nil, put("/u/a", 2)))
	g.txn(nil, mvcc.Op{Put: put("/u/b", 2)})
	g.as("u", auth.Denied, machine.KindLease, command(lease.KindRevoke, 1))
	g.as("u", nil, machine.KindLease, command(lease.KindRevoke, 2))
	// Keys below, between and above the ranges that u may write.
	for _, key := range []string{"\x00", "/u", "/u0", "/w\x00", "\xff\xff"} {
		g.as("root", nil, machine.KindPut, machine.AppendPut(nil, put(key, 3)))
		g.as("u", auth.Denied, machine.KindPut, machine.AppendPut(nil, put("/u/c", 3)))
		g.as("root", nil, machine.KindDelete, machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: keyRange(key, "")}))
		g.as("u", nil, machine.KindPut, machine.AppendPut(nil, put("/u/c", 3)))
	}
}

// TestIssue11651: in etcd a restart could apply commands about users twice, so that the revision of
// the table differed between members, and so did their refusals.
func TestIssue11651(t *testing.T) {
	g := newGuarded(t)
	before := g.m.Auth().State()
	if err := g.m.Flush(); err != nil {
		t.Fatal(err)
	}
	g.wants(nil, machine.KindAutoCompact, machine.AppendCompact(nil, 1)) // not flushed
	last := auth.Command{Kind: auth.KindV3RoleAdd, Name: "late"}
	g.as("root", nil, machine.KindAuth, last.Append(nil))
	late := g.m.Auth().State().Revision
	crashed := g.fs.Crash(0, nil)
	if err := errors.Join(g.m.Close(), g.db.Close()); err != nil {
		t.Fatal(err)
	}
	g.db, g.m = openTest(t, crashed)
	s := g.m.Auth().State()
	if g.m.AppliedIndex() != g.index-2 || s.Revision != before.Revision || !s.Enabled {
		t.Fatalf("after the crash: applied %d, revision %d, enabled %t", g.m.AppliedIndex(), s.Revision, s.Enabled)
	}
	g.index = g.m.AppliedIndex()
	g.wants(nil, machine.KindAutoCompact, machine.AppendCompact(nil, 1))
	g.as("root", nil, machine.KindAuth, last.Append(nil))
	if got := g.m.Auth().State().Revision; got != late {
		t.Errorf("replayed, the revision is %d; it was %d", got, late)
	}
}

// TestIssue14571, and 14648: in etcd a member that received its state as a snapshot continued with
// the users, roles and permissions that it had in memory.
func TestIssue14571(t *testing.T) {
	g := newGuarded(t)
	token := auth.Command{Kind: auth.KindLogin, Name: "u", Hash: "h", Key: "k"}
	g.wants(nil, machine.KindAuth, token.Append(nil))
	if err := errors.Join(g.m.Flush()); err != nil {
		t.Fatal(err)
	}
	empty := storage.NewCrashableFS()
	db, err := storage.OpenState("state", storage.Options{FS: empty, MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the test is over
	table, err := auth.Open(db)
	if err != nil || table.State().Enabled {
		t.Fatalf("an empty table: %v", err)
	}
	b := db.NewBatch()
	it := g.db.NewIter([]byte{byte(storage.TableAuth)}, []byte{byte(storage.TableAuth) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		b.Set(it.Key(), it.Value())
	}
	if err := errors.Join(it.Close(), b.Commit(false), b.Close(), table.Reload(db)); err != nil {
		t.Fatal(err)
	}
	got, want := table.State(), g.m.Auth().State()
	if got.Revision != want.Revision || got.EnabledAt != want.EnabledAt || !got.Enabled || !reflect.DeepEqual(got.UserNames(), want.UserNames()) {
		t.Errorf("of a snapshot: %+v, want %+v", got, want)
	}
	may := got.Subject(&auth.Actor{Name: "u"})
	if !may.CanWrite(keyRange("/u/", "/u0")) || may.CanRead(keyRange("/x", "")) || may.Root() {
		t.Error("permissions are not those of the snapshot")
	}
}
