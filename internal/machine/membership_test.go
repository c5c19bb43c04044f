package machine_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// allResults collects the results of all entries.
type allResults struct {
	results []*machine.Result
	changes []*raftpb.ConfChangeV2 // of the last batch
}

// apply applies entries, which make one batch.
func (h *allResults) apply(m *machine.Machine, entries []*raftpb.Entry) error {
	applied, err := m.Apply(entries, 1)
	h.changes = applied.Changes
	for _, e := range applied.Results {
		for i := range e.Results {
			res := e.Results[i]
			h.results = append(h.results, &res)
		}
	}
	return err
}

// foundTest makes a state with one initial member, of ID 7.
func foundTest(t *testing.T) (fs storage.CrashableFS, founder membership.Member) {
	t.Helper()
	fs = storage.NewCrashableFS()
	db, err := storage.OpenState("state", storage.Options{FS: fs, MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	founder = membership.Member{ID: 7, PeerURLs: []string{"http://p:7"}}
	if err := errors.Join(machine.Initialize(db, 1, 1, []membership.Member{founder}), db.Close()); err != nil {
		t.Fatal(err)
	}
	return fs, founder
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

// TestMembership shows that a member's record is applied with its entry, does not move the
// revision, and survives a crash together with the applied index.
func TestMembership(t *testing.T) {
	fs, founder := foundTest(t)
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
	var h allResults
	if err := h.apply(m, entries); err != nil {
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

	// Nothing was flushed: a crash resets the state, and replaying the entries has the same result.
	crashed := fs.Crash(0, nil)
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m = openTest(t, crashed)
	if got := m.Members(); m.AppliedIndex() != 1 || !reflect.DeepEqual(got, []membership.Member{founder}) {
		t.Errorf("at %d after a crash: members %+v", m.AppliedIndex(), got)
	}
	if err := h.apply(m, entries); err != nil {
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
	if applied, err := m.Apply([]*raftpb.Entry{bad}, 1); err != nil || len(applied.Malformed) != 1 {
		t.Errorf("a command of an unknown kind: %v, malformed %v, want one refusal", err, applied.Malformed)
	}
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// change is the entry of a command that changes raft's configuration.
func change(index uint64, c membership.Command) *raftpb.Entry {
	cc := machine.NewChange(&c)
	cc.Context = machine.AppendCommand(machine.Header{Origin: 1}.Append(nil), machine.KindMembership, c.Append(nil))
	data, err := proto.Marshal(cc)
	if err != nil {
		panic(err)
	}
	term := uint64(2)
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryConfChangeV2.Enum(), Data: data}
}

// TestReconfiguration adds, removes and promotes members; refused changes are not passed to raft.
func TestReconfiguration(t *testing.T) {
	fs, _ := foundTest(t)
	db, m := openTest(t, fs)
	before := m.Keys().Head().Revision
	var h allResults
	err := h.apply(m, []*raftpb.Entry{
		change(2, membership.Command{Kind: membership.KindAdd, ID: 8, PeerURLs: []string{"http://p:8"}, Learner: true, LearnersMax: 1}),
		change(3, membership.Command{Kind: membership.KindAdd, ID: 9, PeerURLs: []string{"http://p:9"}, Learner: true, LearnersMax: 1}),
		change(4, membership.Command{Kind: membership.KindAdd, ID: 9, PeerURLs: []string{"http://p:8"}}),
		change(5, membership.Command{Kind: membership.KindRemove, ID: 7}),
		change(6, membership.Command{Kind: membership.KindPromote, ID: 7}),
		change(7, membership.Command{Kind: membership.KindPromote, ID: 8}),
		change(8, membership.Command{Kind: membership.KindRemove, ID: 7}),
		change(9, membership.Command{Kind: membership.KindAdd, ID: 7, PeerURLs: []string{"http://p:7"}}),
		change(10, membership.Command{Kind: membership.KindAdd, ID: 8, PeerURLs: []string{"http://p:9"}}),
		change(11, membership.Command{Kind: membership.KindRemove, ID: 5}),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []error{
		nil, membership.ErrTooManyLearners, membership.ErrPeerURLExists, membership.ErrOnlyMember, membership.ErrNotLearner,
		nil, nil, membership.ErrRemoved, membership.ErrExists, membership.ErrNotFound,
	}
	for i, r := range h.results {
		if !errors.Is(r.Err, want[i]) || want[i] == nil && r.Err != nil {
			t.Errorf("entry %d: %v, want %v", i+2, r.Err, want[i])
		}
	}
	var told []string
	for _, c := range h.changes {
		told = append(told, fmt.Sprintf("%v %d", c.Changes[0].GetType(), c.Changes[0].GetNodeId()))
	}
	if got, want := strings.Join(told, ", "), "ConfChangeAddLearnerNode 8, ConfChangeAddNode 8, ConfChangeRemoveNode 7"; got != want {
		t.Errorf("raft gets %s, want %s", got, want)
	}
	if got := m.Keys().Head().Revision; got != before {
		t.Errorf("three changes moved the revision from %d to %d", before, got)
	}
	check := func() {
		t.Helper()
		if cs := m.ConfState(); !reflect.DeepEqual(cs.Voters, []uint64{8}) || len(cs.Learners) != 0 || !m.Removed(7) || m.Removed(8) {
			t.Errorf("configuration %v, 7 removed: %v", cs, m.Removed(7))
		}
	}
	check()
	if err := errors.Join(m.Flush(), m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m = openTest(t, fs)
	check()
	// A command in the configuration change of another command was never proposed.
	plain := one(12, machine.KindMembership, (&membership.Command{Kind: membership.KindRemove, ID: 8}).Append(nil))
	if applied, err := m.Apply([]*raftpb.Entry{plain}, 1); err != nil || len(applied.Malformed) != 1 {
		t.Errorf("a removal in an ordinary entry: %v, malformed %v, want one refusal", err, applied.Malformed)
	}
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestChangesMoveTheRevision: membership changes increment the revision only if the command says
// so: those of the v2 API, and those in the log of version 0.1.0, whose replay must end at the
// revision that its clients have seen.
func TestChangesMoveTheRevision(t *testing.T) {
	fs, _ := foundTest(t)
	db, m := openTest(t, fs)
	at := m.Keys().Head().Revision
	apply := func(what string, e *raftpb.Entry, moves int64) {
		t.Helper()
		applied, err := m.Apply([]*raftpb.Entry{e}, 1)
		if err != nil || len(applied.Malformed) > 0 {
			t.Fatalf("%s: %v, malformed %v", what, err, applied.Malformed)
		}
		if got := m.Keys().Head().Revision; got != at+moves {
			t.Errorf("%s: revision %d after %d, want %d", what, got, at, at+moves)
		}
		at += moves
	}
	command := func(kind membership.Kind, id uint64, url string, moves bool) membership.Command {
		return membership.Command{Kind: kind, ID: id, PeerURLs: []string{url}, MovesRevision: moves, Learner: kind == membership.KindAdd, LearnersMax: 2}
	}
	still := command(membership.KindUpdate, 7, "http://p:2", false)
	moving := command(membership.KindUpdate, 7, "http://p:3", true)
	apply("add", change(2, command(membership.KindAdd, 8, "http://p:8", false)), 0)
	apply("add through v2", change(3, command(membership.KindAdd, 9, "http://p:9", true)), 1)
	apply("update", one(4, machine.KindMembership, still.Append(nil)), 0)
	apply("update through v2", one(5, machine.KindMembership, moving.Append(nil)), 1)
	apply("promote", change(6, command(membership.KindPromote, 8, "", false)), 0)
	apply("remove", change(7, command(membership.KindRemove, 8, "", false)), 0)
	apply("remove through v2", change(8, command(membership.KindRemove, 9, "", true)), 1)
	// An update as version 0.1.0 wrote it: kind 2, member 7, one URL.
	apply("update of 0.1.0", one(9, machine.KindMembership, []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x07\x01\x0ahttp://p:4")), 1)
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}
