package machine_test

import (
	"errors"
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// heard takes the results of all entries.
type heard struct{ results []*machine.Result }

func (h *heard) Applied() {}

func (h *heard) Results(_ machine.Header, n int) []*machine.Result {
	for range n {
		h.results = append(h.results, new(machine.Result))
	}
	return h.results[len(h.results)-n:]
}

func openTest(t *testing.T, fs storage.FS) (*storage.Store, *machine.Machine) {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: fs, MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return db, m
}

// one is an entry of one command.
func one(index uint64, kind machine.Kind, payload []byte) *raftpb.Entry {
	term := uint64(2)
	return &raftpb.Entry{
		Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: machine.AppendCommand(machine.Header{Origin: 1}.Append(nil), kind, payload),
	}
}

// TestMembership shows that a member's record is applied with its entry, moves no revision, and is there after a crash as
// far as the applied index is.
func TestMembership(t *testing.T) {
	fs := storage.NewCrashableFS()
	db, err := storage.OpenState("state", storage.Options{FS: fs, MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	founder := membership.Member{ID: 7, PeerURLs: []string{"http://p:1"}}
	if err := errors.Join(machine.Initialize(db, 1, 1, []membership.Member{founder}), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m := openTest(t, fs)
	if got := m.Members(); !reflect.DeepEqual(got, []membership.Member{founder}) || !reflect.DeepEqual(m.ConfState().Voters, []uint64{7}) {
		t.Fatalf("members %+v, voters %v", got, m.ConfState())
	}

	publish := membership.Command{Kind: membership.KindPublish, ID: 7, Name: "n", ClientURLs: []string{"http://c:1"}}
	unknown := membership.Command{Kind: membership.KindUpdate, ID: 8, PeerURLs: []string{"http://p:2"}}
	entries := []*raftpb.Entry{
		one(2, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k")})),
		one(3, machine.KindMembership, publish.Append(nil)),
		one(4, machine.KindMembership, unknown.Append(nil)),
	}
	var h heard
	if err := m.Apply(entries, &h); err != nil {
		t.Fatal(err)
	}
	want := founder
	want.Name, want.ClientURLs = "n", []string{"http://c:1"}
	if got := m.Members(); !reflect.DeepEqual(got, []membership.Member{want}) {
		t.Errorf("members %+v", got)
	}
	if err := h.results[2].Err; !errors.Is(err, membership.ErrNotFound) {
		t.Errorf("update of a member that is not there: %v", err)
	}
	for i, r := range h.results {
		if r.Revision != h.results[0].Revision {
			t.Errorf("entry %d is at revision %d, after %d", i+2, r.Revision, h.results[0].Revision)
		}
	}

	// Nothing was flushed: a crash takes the state back to its start, and the entries do the same once more.
	crashed := fs.Crash(0, nil)
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m = openTest(t, crashed)
	if got := m.Members(); m.AppliedIndex() != 1 || !reflect.DeepEqual(got, []membership.Member{founder}) {
		t.Errorf("at %d after a crash: members %+v", m.AppliedIndex(), got)
	}
	if err := m.Apply(entries, &h); err != nil {
		t.Fatal(err)
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed := crashed.Crash(0, nil)
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m = openTest(t, flushed)
	if got := m.Members(); m.AppliedIndex() != 4 || !reflect.DeepEqual(got, []membership.Member{want}) {
		t.Errorf("at %d after a flush: members %+v", m.AppliedIndex(), got)
	}
	bad := one(5, machine.KindMembership, []byte("\x09\x00\x00\x00\x00\x00\x00\x00\x07"))
	if err := m.Apply([]*raftpb.Entry{bad}, &h); !errors.Is(err, machine.ErrBadCommand) {
		t.Errorf("a command that nobody can have proposed: %v", err)
	}
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}
