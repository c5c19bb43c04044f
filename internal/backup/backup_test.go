package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/datadir"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/raftlog"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

const testCluster = 0xc1

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newMember makes the data directory of a stopped member of a cluster of three, which has applied
// some of its log.
func newMember(t testing.TB, entries []*raftpb.Entry, applied int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	dir, err := datadir.Open(path)
	must(t, err)
	scratch, err := dir.NewStores()
	must(t, err)
	state, err := storage.OpenState(filepath.Join(scratch, "state"), storage.Options{})
	must(t, err)
	logStore, err := storage.OpenLog(filepath.Join(scratch, "log"), storage.Options{})
	must(t, err)
	var founders []membership.Member
	for id := uint64(1); id <= 3; id++ {
		founders = append(founders, membership.Member{ID: id, PeerURLs: []string{fmt.Sprint("http://", id)}})
	}
	must(t, machine.Initialize(state, 1, 1, founders))
	must(t, raftlog.Initialize(logStore, 1, 1))
	log, err := raftlog.Open(logStore, 1, &raftpb.ConfState{})
	must(t, err)
	if len(entries) > 0 {
		must(t, log.Append([]*raftpb.Message{{Entries: entries, Responses: []*raftpb.Message{{}}}}))
	}
	m, err := machine.Open(state)
	must(t, err)
	_, err = m.Apply(entries[:applied], 0)
	must(t, err)
	must(t, m.Flush())
	must(t, errors.Join(m.Close(), state.Close(), logStore.Close()))
	must(t, dir.Create(datadir.Identity{MemberID: 1, ClusterID: testCluster, Name: "n1", Created: time.Unix(1e9, 0)}))
	must(t, dir.Close())
	return path
}

// someEntries returns entries with commands of every kind that leaves something in a state.
func someEntries(n int) []*raftpb.Entry {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	var entries []*raftpb.Entry
	add := func(kind machine.Kind, payload []byte) {
		index, term := uint64(len(entries)+2), uint64(1)
		data := machine.AppendCommand(machine.Header{Origin: 1, Time: kv.ClusterTime(len(entries)) * 1e9}.Append(nil), kind, payload)
		entries = append(entries, &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	for i := range n {
		key := fmt.Sprintf("/k%02d", rng.IntN(40))
		switch rng.IntN(9) {
		case 0:
			add(machine.KindDelete, machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}}))
		case 1:
			c := v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v2/" + key[1:]), Value: []byte("v2")}
			add(machine.KindV2, c.Append(nil))
		case 2:
			c := v2tree.Command{Kind: v2tree.KindSet, Path: []byte(fmt.Sprintf("/dir%d", i)), Dir: true}
			add(machine.KindV2, c.Append(nil))
		case 3:
			c := lease.Command{Kind: lease.KindGrant, ID: kv.LeaseID(1000 + i), TTL: 60}
			add(machine.KindLease, c.Append(nil))
			add(machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte("leased"), Lease: kv.LeaseID(1000 + i)}))
		case 4:
			c := auth.Command{Kind: auth.KindV3UserAdd, Name: fmt.Sprint("u", i)}
			add(machine.KindAuth, c.Append(nil))
		case 5:
			c := alarm.Command{Action: alarm.Activate, Kind: alarm.NoSpace, Member: uint64(1 + i%3)}
			add(machine.KindAlarm, c.Append(nil))
			c.Action = alarm.Deactivate // or it would refuse the others
			add(machine.KindAlarm, c.Append(nil))
		default:
			add(machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: fmt.Append(nil, i, strings.Repeat("x", rng.IntN(300)))}))
		}
		if i == n/2 {
			add(machine.KindCompact, machine.AppendCompact(nil, 10))
		}
	}
	c := alarm.Command{Action: alarm.Activate, Kind: alarm.NoSpace, Member: 2}
	add(machine.KindAlarm, c.Append(nil))
	return entries
}

// content returns the key-values of a data directory's state, with its log applied.
func content(t testing.TB, path string) (pairs map[string]string, m *machine.Machine) {
	t.Helper()
	s, err := openStopped(filepath.Join(path, "member", "log"), filepath.Join(path, "member", "state"))
	must(t, err)
	pairs = map[string]string{}
	it := s.state.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		pairs[string(it.Key())] = string(it.Value())
	}
	must(t, it.Close())
	t.Cleanup(func() { must(t, s.close()) })
	return pairs, s.machine
}

// ofData reports whether a key belongs to the data, and not to the cluster.
func ofData(key string) bool {
	return !strings.HasPrefix(key, "m") && key != "sp" && !strings.HasPrefix(key, "sa")
}

func target(dir string) Target {
	return Target{
		Dir: dir, Identity: datadir.Identity{MemberID: 77, ClusterID: 0xc2, Name: "restored", Created: time.Unix(2e9, 0)},
		Members: []membership.Member{{ID: 77, PeerURLs: []string{"http://77"}}, {ID: 78, PeerURLs: []string{"http://78"}}},
	}
}

// saved makes a file of a stopped member's state.
func saved(t testing.TB, path string) string {
	t.Helper()
	s, err := openStopped(filepath.Join(path, "member", "log"), filepath.Join(path, "member", "state"))
	must(t, err)
	source, err := s.machine.Snapshot(testCluster)
	must(t, err)
	file := filepath.Join(t.TempDir(), "backup.db")
	_, err = Save(file, snapshot.NewFile(source))
	must(t, errors.Join(err, source.Close(), s.close()))
	return file
}

// TestRestoredIsWhatWasSaved compares all tables of the state before and after.
func TestRestoredIsWhatWasSaved(t *testing.T) {
	for _, n := range []int{0, 1, 50, 400} {
		entries := someEntries(n)
		member := newMember(t, entries, len(entries))
		file := saved(t, member)
		restored := filepath.Join(t.TempDir(), "restored")
		must(t, Restore(file, true, target(restored)))
		before, _ := content(t, member)
		after, m := content(t, restored)
		maps.DeleteFunc(before, func(k, _ string) bool { return !ofData(k) })
		if n > 1 && len(before) < n {
			t.Errorf("%d entries left only %d pairs", n, len(before))
		}
		data := maps.Clone(after)
		maps.DeleteFunc(data, func(k, _ string) bool { return !ofData(k) })
		if !maps.Equal(before, data) {
			t.Errorf("%d entries: %d pairs before, %d after, and they differ", n, len(before), len(data))
		}
		if got := m.Members(); !reflect.DeepEqual(got, target("").Members) {
			t.Errorf("members %+v", got)
		}
		if m.AppliedIndex() != 1 || m.AppliedTerm() != 1 || len(m.Alarms().List(alarm.None)) != 0 {
			t.Errorf("applied entry %d of term %d, alarms %v", m.AppliedIndex(), m.AppliedTerm(), m.Alarms().List(alarm.None))
		}
		id, err := datadir.Inspect(restored)
		must(t, err)
		if want := target("").Identity; id.MemberID != want.MemberID || id.ClusterID != want.ClusterID || id.Name != want.Name {
			t.Errorf("identity %+v", id)
		}
		// FORMAT, LOCK, log, state
		if left, _ := filepath.Glob(filepath.Join(restored, "member", "*")); len(left) != 4 {
			t.Errorf("in the directory are %q", left)
		}
	}
}

func TestBumpedRevision(t *testing.T) {
	entries := someEntries(60)
	file := saved(t, newMember(t, entries, len(entries)))
	st, err := ReadStatus(file)
	must(t, err)
	to := target(filepath.Join(t.TempDir(), "restored"))
	to.BumpRevision = 1000
	if err := Restore(file, true, to); err == nil || !strings.Contains(err.Error(), "needs MarkCompacted") {
		t.Errorf("without a compaction: %v", err)
	}
	if _, err := os.Stat(to.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a restore that failed has left its directory: %v", err)
	}
	to.MarkCompacted = true
	must(t, Restore(file, true, to))
	_, m := content(t, to.Dir)
	head := m.Keys().Head()
	if want := st.Revision + 1000; head.Revision != want || head.CompactRevision != want {
		t.Fatalf("revision %d, compacted at %d; want %d", head.Revision, head.CompactRevision, want)
	}
	var c mvcc.Collector
	all := kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	if sum, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: all, Revision: head.Revision}, &c); err != nil || sum.Count == 0 {
		t.Errorf("%d keys, %v", sum.Count, err)
	}
	if _, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: all, Revision: st.Revision}, &c); !errors.Is(err, mvcc.ErrCompacted) {
		t.Errorf("the revision of the snapshot: %v", err)
	}
	// History begins at the compacted revision without a gap: a watch may start there.
	put := someEntries(1)[0]
	put.Data = machine.AppendCommand(machine.Header{Origin: 1}.Append(nil), machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("new")}))
	_, err = m.Apply([]*raftpb.Entry{put}, 0)
	must(t, err)
	var revisions []int64
	oldest, err := m.Keys().History(head.Revision, head.Revision+1, func(e *kv.Event) bool {
		revisions = append(revisions, e.Record.Mod.Main)
		return true
	})
	if err != nil || !reflect.DeepEqual(revisions, []int64{head.Revision, head.Revision + 1}) {
		t.Errorf("history %v, oldest %d, %v", revisions, oldest, err)
	}
}

// place is what each error about damage has.
var place = regexp.MustCompile(`\boffset \d+`)

// TestDamagedFiles changes and truncates a file in every part: each error names the file, the place
// and what to do, and leaves no directory.
func TestDamagedFiles(t *testing.T) {
	entries := someEntries(30)
	file := saved(t, newMember(t, entries, len(entries)))
	whole, err := os.ReadFile(file)
	must(t, err)
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.db")
	refused := func(what string, content []byte, check bool) {
		t.Helper()
		must(t, os.WriteFile(bad, content, 0o600))
		to := target(filepath.Join(dir, "restored"))
		err := Restore(bad, check, to)
		if !errors.Is(err, snapshot.ErrCorrupt) || !strings.HasPrefix(err.Error(), "snapshot "+bad+": ") || !strings.HasSuffix(err.Error(), damagedHint) ||
			!place.MatchString(err.Error()) {
			t.Errorf("%s (SHA-256 %t): %v", what, check, err)
		}
		if _, err := os.Stat(to.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a directory is there: %v", what, err)
			must(t, os.RemoveAll(to.Dir))
		}
	}
	fill := len(whole) - 32 - bytesOfStream(t, whole)
	places := []int{0, len(snapshot.Magic), len(snapshot.Magic) + 1, len(snapshot.Magic) + 7, 100, len(whole) / 2, len(whole) - 33, len(whole) - 1}
	for _, at := range append(places, damagedPlaces(len(whole), 10)...) {
		spoilt := bytes.Clone(whole)
		spoilt[at] ^= 0x10
		refused(fmt.Sprint("byte ", at), spoilt, true)
		if at < len(whole)-32-fill {
			refused(fmt.Sprint("byte ", at), spoilt, false)
		}
		refused(fmt.Sprint("cut at ", at), whole[:at], true)
		if at < len(whole)-32-fill {
			refused(fmt.Sprint("cut at ", at), whole[:at], false)
		}
	}
	refused("something more", append(bytes.Clone(whole), 0), true)
	refused("an empty file", nil, true)
	// Without its SHA-256, the file is valid by the checksums of its blocks.
	must(t, os.WriteFile(bad, whole[:len(whole)-32-fill], 0o600))
	must(t, Restore(bad, false, target(filepath.Join(dir, "restored"))))
}

func bytesOfStream(t *testing.T, file []byte) int {
	t.Helper()
	s, err := snapshot.NewStream(bytes.NewReader(file))
	must(t, err)
	for {
		if _, _, err := s.Next(); errors.Is(err, io.EOF) {
			return int(s.Bytes())
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	bolt := make([]byte, 4096)
	binary.LittleEndian.PutUint32(bolt[16:], 0xED0CDAED)
	file := filepath.Join(dir, "etcd.db")
	must(t, os.WriteFile(file, bolt, 0o600))
	want := "snapshot " + file + ": " + errEtcd.Error()
	if err := Restore(file, true, target(filepath.Join(dir, "x"))); err == nil || err.Error() != want {
		t.Errorf("etcd's own: %v, want %s", err, want)
	}
	if _, err := ReadStatus(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadStatus(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestRestoreIntoNothingElse(t *testing.T) {
	file := saved(t, newMember(t, someEntries(3), 2))
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600))
	err := Restore(file, true, target(dir))
	if err == nil || err.Error() != fmt.Sprintf("data-dir %q not empty or could not be read: it has precious in it; give a directory that does not exist yet", dir) {
		t.Errorf("over something: %v", err)
	}
	empty := t.TempDir()
	must(t, Restore(file, true, target(empty)))
}

func TestSaveIsAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.db")
	must(t, os.WriteFile(path, []byte("the one before"), 0o600))
	file, err := io.ReadAll(snapshot.NewFile(strings.NewReader("x")))
	must(t, err)
	for _, r := range []io.Reader{
		bytes.NewReader(file[:len(file)-1]), strings.NewReader(""),
		io.MultiReader(bytes.NewReader(file[:100]), &failing{}),
	} {
		if _, err := Save(path, r); err == nil {
			t.Error("half a file was saved")
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "the one before" {
		t.Errorf("the file before: %q, %v", got, err)
	}
	if n, err := Save(path, bytes.NewReader(file)); err != nil || n != int64(len(file)) {
		t.Errorf("saved %d bytes of %d: %v", n, len(file), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("gone") }

// TestFromStopped backs up a member that was killed, whose log is ahead of its state. The member's
// own directory must not change.
func TestFromStopped(t *testing.T) {
	entries := someEntries(80)
	member := newMember(t, entries, 20)
	to := target(filepath.Join(t.TempDir(), "copy"))
	must(t, FromDir(context.Background(), member, to))
	// The name is copied with the data.
	if id, err := datadir.Inspect(to.Dir); err != nil || id.Name != "n1" || id.MemberID != 77 {
		t.Errorf("identity %+v, %v", id, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(to.Dir), ".*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	state, err := storage.OpenState(filepath.Join(member, "member", "state"), storage.Options{})
	must(t, err)
	m, err := machine.Open(state)
	must(t, err)
	if m.AppliedIndex() != 21 {
		t.Errorf("the member's own directory has now applied entry %d", m.AppliedIndex())
	}
	must(t, errors.Join(m.Close(), state.Close()))
	before, _ := content(t, member)
	after, _ := content(t, to.Dir)
	maps.DeleteFunc(before, func(k, _ string) bool { return !ofData(k) })
	maps.DeleteFunc(after, func(k, _ string) bool { return !ofData(k) })
	if !maps.Equal(before, after) {
		t.Errorf("%d pairs, %d in the backup, and they differ", len(before), len(after))
	}
	if err := FromDir(context.Background(), member, to); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("once more: %v", err)
	}
	if err := FromDir(context.Background(), t.TempDir(), target(filepath.Join(t.TempDir(), "x"))); err == nil || !strings.Contains(err.Error(), "it was never used by a member") {
		t.Errorf("of nothing: %v", err)
	}
}

// TestFromRunning holds a data directory's lock and serves its socket, as a running member does, in
// a directory whose name is longer than a socket's may be.
func TestFromRunning(t *testing.T) {
	entries := someEntries(80)
	short := newMember(t, entries, len(entries))
	member := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	must(t, os.Rename(short, member))
	dir, err := datadir.Open(member)
	must(t, err)
	s, err := openStopped(dir.LogDir(), dir.StateDir())
	must(t, err)
	copied := func() Target { return target(filepath.Join(t.TempDir(), "copy")) }
	err = FromDir(context.Background(), member, copied())
	if err == nil || !strings.Contains(err.Error(), "its member runs, and does not respond on member/backup.sock") {
		t.Errorf("without a socket: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, dir.MemberDir(), slog.New(slog.DiscardHandler), func() (*snapshot.Source, error) { return s.machine.Snapshot(testCluster) })
	}()
	to := copied()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if err = FromDir(ctx, member, to); err == nil || time.Now().After(deadline) {
			break
		}
	}
	must(t, err)
	must(t, FromDir(ctx, member, copied())) // one after the other
	cancel()
	<-served
	if _, err := os.Stat(filepath.Join(dir.MemberDir(), socketName)); err == nil {
		t.Error("the socket is left")
	}
	must(t, errors.Join(s.close(), dir.Close()))
	before, _ := content(t, member)
	after, _ := content(t, to.Dir)
	maps.DeleteFunc(before, func(k, _ string) bool { return !ofData(k) })
	maps.DeleteFunc(after, func(k, _ string) bool { return !ofData(k) })
	if !maps.Equal(before, after) {
		t.Errorf("%d pairs, %d in the backup, and they differ", len(before), len(after))
	}
}

func TestForceNewCluster(t *testing.T) {
	entries := someEntries(80)
	member := newMember(t, entries, 20)
	for range 2 { // a second time, since the flag may stay set
		dir, err := datadir.Open(member)
		must(t, err)
		must(t, ForceNewCluster(dir, nil))
		must(t, dir.Close())
	}
	_, m := content(t, member)
	if m.AppliedIndex() != uint64(len(entries)+1) {
		t.Errorf("applied entry %d, the log has %d", m.AppliedIndex(), len(entries)+1)
	}
	if got := m.Members(); len(got) != 1 || got[0].ID != 1 || !reflect.DeepEqual(m.ConfState().Voters, []uint64{1}) || !m.Removed(2) || !m.Removed(3) {
		t.Errorf("members %+v, voters %v", got, m.ConfState())
	}
	for _, a := range m.Alarms().List(alarm.None) {
		if a.Member != 1 {
			t.Errorf("an alarm of member %d", a.Member)
		}
	}
	if id, err := datadir.Inspect(member); err != nil || id.MemberID != 1 || id.ClusterID != testCluster {
		t.Errorf("identity %+v, %v", id, err)
	}
}
