package raftlog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/storage"
)

// state is a log on an in-memory disk.
type state struct {
	t       *testing.T
	fs      storage.CrashableFS
	store   *storage.Store
	log     *Log
	applied uint64
}

func newState(t *testing.T, index, term uint64) *state {
	st := &state{t: t, fs: storage.NewCrashableFS(), applied: index}
	st.openStore()
	st.check(Initialize(st.store, index, term))
	root, err := st.fs.OpenDir("/")
	st.check(err)
	st.check(errors.Join(root.Sync(), root.Close()))
	st.check(st.open())
	return st
}

func (st *state) check(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *state) openStore() {
	var err error
	st.store, err = storage.OpenLog("log", storage.Options{FS: st.fs, MemTableBytes: 256 << 10})
	st.check(err)
}

func (st *state) open() (err error) {
	st.log, err = Open(st.store, st.applied, &raftpb.ConfState{Voters: []uint64{1}})
	return err
}

func (st *state) reopen() error {
	st.check(st.store.Close())
	st.openStore()
	return st.open()
}

// crash cuts the power; keep is the percentage of unsynced data that survives.
func (st *state) crash(unsyncedPercent int, rng *rand.Rand) error {
	disk := st.fs.Crash(unsyncedPercent, rng)
	st.check(st.store.Close())
	st.fs = disk
	st.openStore()
	return st.open()
}

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: []byte(data)}
}

// message is a MsgStorageAppend; it requires a sync when it carries a response.
func message(sync bool, entries ...*raftpb.Entry) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Entries: entries}
	if sync {
		m.Responses = []*raftpb.Message{{Type: raftpb.MsgStorageAppendResp.Enum()}}
	}
	return m
}

func withState(m *raftpb.Message, term, vote, commit uint64) *raftpb.Message {
	m.Term, m.Vote, m.Commit = &term, &vote, &commit
	return m
}

func run(from, to, term uint64) (entries []*raftpb.Entry) {
	for i := from; i <= to; i++ {
		entries = append(entries, entry(i, term, fmt.Sprintf("%d@%d", i, term)))
	}
	return entries
}

func show(entries []*raftpb.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, " %d/%d:%s", e.GetIndex(), e.GetTerm(), e.Data)
	}
	return strings.TrimSpace(b.String())
}

// TestTranscripts runs testdata/raftlog. Commands:
//
//	append   one line per message: FROM-TO@TERM | state TERM VOTE COMMIT | both; all in one call
//	truncate index=N     release index=N     reopen [applied=N]     crash [keep=PERCENT] [applied=N]
//	status               terms FROM TO       entries LO HI [max=BYTES]
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/raftlog", func(t *testing.T, path string) {
		st := newState(t, 1, 1)
		defer func() { st.check(st.store.Close()) }()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			st.t = t
			var index uint64
			d.MaybeScanArgs(t, "index", &index)
			switch d.Cmd {
			case "append":
				var msgs []*raftpb.Message
				for _, line := range strings.Split(d.Input, "\n") {
					msgs = append(msgs, parseMessage(t, line))
				}
				if err := st.log.Append(msgs); err != nil {
					return fmt.Sprintf("error: %v\n", err)
				}
				return st.status()
			case "truncate":
				if err := st.log.Truncate(index); err != nil {
					return fmt.Sprintf("error: %v\n", err)
				}
				return st.status()
			case "release":
				st.log.Release(index)
				return st.status()
			case "reopen":
				d.MaybeScanArgs(t, "applied", &st.applied)
				if err := st.reopen(); err != nil {
					return fmt.Sprintf("error: %v\n", err)
				}
				return st.status()
			case "crash":
				keep := 0
				d.MaybeScanArgs(t, "keep", &keep)
				d.MaybeScanArgs(t, "applied", &st.applied)
				if err := st.crash(keep, rand.New(rand.NewPCG(1, 1))); err != nil {
					return fmt.Sprintf("error: %v\n", err)
				}
				return st.status()
			case "status":
				return st.status()
			case "terms":
				var from, to uint64
				d.ScanArgs(t, "from", &from)
				d.ScanArgs(t, "to", &to)
				var b strings.Builder
				for i := from; i <= to; i++ {
					term, err := st.log.Term(i)
					if err != nil {
						fmt.Fprintf(&b, "%d: %v\n", i, err)
						continue
					}
					fmt.Fprintf(&b, "%d: %d\n", i, term)
				}
				return b.String()
			case "entries":
				var lo, hi uint64
				size := uint64(1 << 30)
				d.ScanArgs(t, "lo", &lo)
				d.ScanArgs(t, "hi", &hi)
				d.MaybeScanArgs(t, "max", &size)
				entries, err := st.log.Entries(lo, hi, size)
				if err != nil {
					return fmt.Sprintf("error: %v\n", err)
				}
				return show(entries) + "\n"
			default:
				t.Fatalf("unknown command %q", d.Cmd)
				return ""
			}
		})
	})
}

func parseMessage(t *testing.T, line string) *raftpb.Message {
	m := message(!strings.Contains(line, "nosync"))
	for f := strings.Fields(line); len(f) > 0; {
		var from, to, term, vote, commit uint64
		switch f[0] {
		case "nosync":
			f = f[1:]
		case "state":
			if _, err := fmt.Sscan(strings.Join(f[1:4], " "), &term, &vote, &commit); err != nil {
				t.Fatal(err)
			}
			withState(m, term, vote, commit)
			f = f[4:]
		default:
			if _, err := fmt.Sscanf(f[0], "%d-%d@%d", &from, &to, &term); err != nil {
				t.Fatalf("%q: %v", f[0], err)
			}
			m.Entries = append(m.Entries, run(from, to, term)...)
			f = f[1:]
		}
	}
	return m
}

func (st *state) status() string {
	first, _ := st.log.FirstIndex()
	last, _ := st.log.LastIndex()
	hard, conf, err := st.log.InitialState()
	st.check(err)
	return fmt.Sprintf("first %d, last %d, term %d, vote %d, commit %d, voters %v, %d in memory\n",
		first, last, hard.GetTerm(), hard.GetVote(), hard.GetCommit(), conf.Voters, len(st.log.cache))
}

// TestFormats pins the bytes that docs/formats/raft-log.md shows.
func TestFormats(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	st.check(st.log.Append([]*raftpb.Message{withState(message(true, entry(2, 300, "foo"), entry(3, 300, "")), 300, 7, 2)}))
	st.check(st.log.Truncate(2))
	var got []string
	it := st.store.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		got = append(got, hex.EncodeToString(it.Key())+" → "+hex.EncodeToString(it.Value()))
	}
	st.check(it.Close())
	want := []string{"650000000000000003 → 00ac02", "68 → ac020702", "6a → 03", "74 → 02ac02"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("store has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if b := hex.EncodeToString(appendEntry(nil, entry(2, 300, "foo"))); b != "00ac02666f6f" {
		t.Errorf("entry is %s", b)
	}
}

// TestCrashAfterEverySync appends, overwrites and truncates at random, and cuts the power after
// every synced append: all entries whose append returned survive, without a gap.
func TestCrashAfterEverySync(t *testing.T) {
	for _, keep := range []int{0, 30, 100} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(keep), 3))
			st := newState(t, 1, 1)
			defer func() { st.check(st.store.Close()) }()
			model, term := map[uint64]*raftpb.Entry{}, uint64(1)
			first, last, commit := uint64(2), uint64(1), uint64(1)
			for round := range 120 {
				from := last + 1
				if rng.IntN(5) == 0 && last > commit {
					term++ // a new leader replaces uncommitted entries
					from = commit + 1 + rng.Uint64N(last-commit)
				}
				n := rng.Uint64N(6)
				entries := run(from, from+n, term)
				for i := from; i <= last; i++ {
					delete(model, i)
				}
				last = from + n
				for _, e := range entries {
					model[e.GetIndex()] = e
				}
				commit += rng.Uint64N(last - commit + 1)
				half := rng.IntN(len(entries) + 1)
				msgs := []*raftpb.Message{message(false, entries[:half]...), withState(message(true, entries[half:]...), term, 1, commit)}
				st.check(st.log.Append(msgs))
				if rng.IntN(3) == 0 && commit > first {
					at := first + rng.Uint64N(commit-first)
					st.check(st.log.Truncate(at))
				}
				if rng.IntN(4) == 0 {
					st.log.Release(commit)
				}
				// The state machine's applied index is never before a truncation that survives.
				if st.applied = commit; round%3 != 0 {
					continue
				}
				st.check(st.crash(keep, rng))
				gotFirst, _ := st.log.FirstIndex()
				gotLast, _ := st.log.LastIndex()
				if gotLast != last || gotFirst > commit+1 {
					t.Fatalf("round %d: entries %d to %d, want up to %d, committed %d", round, gotFirst, gotLast, last, commit)
				}
				hard, _, _ := st.log.InitialState()
				if hard.GetTerm() != term || hard.GetVote() != 1 || hard.GetCommit() != commit {
					t.Fatalf("round %d: hard state %v, want term %d, commit %d", round, hard, term, commit)
				}
				if first = gotFirst; first <= last {
					got, err := st.log.Entries(first, last+1, 1<<30)
					st.check(err)
					for i, e := range got {
						want := model[first+uint64(i)]
						if e.GetIndex() != want.GetIndex() || e.GetTerm() != want.GetTerm() || string(e.Data) != string(want.Data) {
							t.Fatalf("round %d: entry %v, want %v", round, e, want)
						}
					}
				}
			}
		})
	}
}

// TestGapIsFound: a log with a missing entry is refused.
func TestGapIsFound(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	entries := slices.Concat(run(2, 4, 1), run(5, 5, 2), run(6, 9, 3))
	st.check(st.log.Append([]*raftpb.Message{message(true, entries...)}))
	remove := func(index uint64) {
		b := st.store.NewBatch()
		st.check(errors.Join(b.Remove(entryKey(index)), b.Commit(true), b.Close()))
	}
	remove(5)
	st.check(st.reopen())
	if got, err := st.log.Entries(2, 10, 1<<30); !errors.Is(err, ErrCorrupt) {
		t.Errorf("entries around a gap: %s, %v", show(got), err)
	}
	if got, err := st.log.Entries(5, 6, 1<<30); !errors.Is(err, ErrCorrupt) {
		t.Errorf("entries in a gap: %s, %v", show(got), err)
	}
	if term, err := st.log.Term(5); err == nil {
		t.Errorf("term in a gap: %d", term)
	}
	remove(2)
	if err := st.reopen(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened a log whose first entry is missing: %v", err)
	}
	// The store stays open, because the deferred Close needs an open store.
}

// TestSnapshot: without OfferSnapshots there is no snapshot, and an appended snapshot is refused.
func TestSnapshot(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	if _, err := st.log.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) {
		t.Errorf("snapshot: %v", err)
	}
	index, term := uint64(9), uint64(1)
	m := message(true)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term}}
	if err := st.log.Append([]*raftpb.Message{m}); err == nil {
		t.Error("a snapshot was appended")
	}
}

// TestCacheIsBounded: entries beyond the cache's limit are read from the store.
func TestCacheIsBounded(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	const bytes, limit = 64 << 10, 1 << 20
	st.log.LimitCache(limit) // the whole limit takes a minute under the race detector
	for i := uint64(2); i < 2+3*limit/2/bytes; i++ {
		e := entry(i, 1, "")
		e.Data = make([]byte, bytes)
		e.Data[0] = byte(i)
		st.check(st.log.Append([]*raftpb.Message{message(false, e)}))
		if st.log.cacheBytes > limit {
			t.Fatalf("%d bytes in memory", st.log.cacheBytes)
		}
	}
	last, _ := st.log.LastIndex()
	got, err := st.log.Entries(2, last+1, 3*bytes)
	st.check(err)
	if len(got) != 3 || got[0].Data[0] != 2 || got[2].Data[0] != 4 {
		t.Errorf("%d entries of the front", len(got))
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(uint64(2), []byte{0, 0xac, 2, 'f', 'o', 'o'})
	f.Add(uint64(3), []byte{1, 1})
	f.Add(uint64(3), []byte{0})
	f.Fuzz(func(t *testing.T, index uint64, b []byte) {
		r, err := parseRecord(index, b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		e := r.entry(index)
		r, err = parseRecord(index, appendEntry(nil, e))
		again := r.entry(index)
		if err != nil || again.GetIndex() != index || again.GetTerm() != e.GetTerm() || again.GetType() != e.GetType() || string(again.Data) != string(e.Data) {
			t.Fatalf("%v came back as %v, %v", e, again, err)
		}
	})
}
