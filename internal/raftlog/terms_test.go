package raftlog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// TestTermsAndSizes appends, overwrites, truncates and reopens at random: the term of each entry is
// the one that it was appended with, and the sizes are those of the entries.
func TestTermsAndSizes(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 8))
		st := newState(t, 1, 1)
		model := map[uint64]uint64{1: 1} // index → term
		truncated, last, term := uint64(1), uint64(1), uint64(1)
		for round := range 60 {
			switch rng.IntN(8) {
			case 0:
				truncated += rng.Uint64N(last - truncated + 1)
				st.check(st.log.Truncate(truncated))
			case 1:
				st.applied = truncated
				st.check(st.reopen())
			case 2:
				if last > truncated {
					term++
					last = truncated + rng.Uint64N(last-truncated) // a new leader replaces the entries after it
				}
				fallthrough
			default:
				term += rng.Uint64N(2)
				n := 1 + rng.Uint64N(5)
				st.check(st.log.Append([]*raftpb.Message{message(false, run(last+1, last+n, term)...)}))
				for range n {
					last++
					model[last] = term
				}
			}
			for range 5 {
				index := truncated + rng.Uint64N(last-truncated+1)
				if got, err := st.log.Term(index); err != nil || got != model[index] {
					t.Fatalf("seed %d, round %d: term of entry %d is %d, %v; want %d", seed, round, index, got, err, model[index])
				}
			}
			if got := uint64(len(st.log.sizes)); got != last-truncated {
				t.Fatalf("seed %d, round %d: %d sizes of %d entries", seed, round, got, last-truncated)
			}
			checkRuns(t, st.log.terms)
		}
		st.check(st.store.Close())
	}
}

// checkRuns checks the invariant of terms.
func checkRuns(t *testing.T, s terms) {
	t.Helper()
	for i, r := range s {
		if r.first > r.last || i > 0 && (s[i-1].last >= r.first || s[i-1].term >= r.term) {
			t.Fatalf("runs %v", s)
		}
	}
}

// TestTermsOfANewMember: the log of a member that joins begins after entry 0 of term 0.
func TestTermsOfANewMember(t *testing.T) {
	st := newState(t, 0, 0)
	defer func() { st.check(st.store.Close()) }()
	if term, err := st.log.Term(0); term != 0 || err != nil {
		t.Errorf("term of entry 0: %d, %v", term, err)
	}
	st.check(st.log.Append([]*raftpb.Message{message(true, run(1, 3, 2)...)}))
	for index, want := range []uint64{0, 2, 2, 2} {
		if term, err := st.log.Term(uint64(index)); term != want || err != nil {
			t.Errorf("term of entry %d: %d, %v; want %d", index, term, err, want)
		}
	}
}

// TestTermsAreNotRead: the term of an entry is known without reading it, and after a reopening once
// the entries around it are known. TestGapIsFound shows that other terms are read.
func TestTermsAreNotRead(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	st.check(st.log.Append([]*raftpb.Message{message(true, append(run(2, 99, 1), run(100, 199, 2)...)...)}))
	st.log.Release(199)
	remove := func() {
		b := st.store.NewBatch()
		st.check(errors.Join(b.DeleteRange(entryKey(3), entryKey(99)), b.DeleteRange(entryKey(101), entryKey(199)), b.Commit(true), b.Close()))
	}
	remove()
	terms := func() {
		for index, want := range map[uint64]uint64{1: 1, 2: 1, 50: 1, 99: 1, 100: 2, 150: 2, 199: 2} {
			if got, err := st.log.Term(index); err != nil || got != want {
				t.Errorf("term of entry %d: %d, %v; want %d", index, got, err, want)
			}
		}
	}
	terms()
	st.check(st.reopen())
	for _, index := range []uint64{99, 100} {
		if _, err := st.log.Term(index); err != nil {
			t.Fatal(err)
		}
	}
	terms()
}

// TestEntryOfAnotherTermIsFound: an entry whose term does not fit to those around it is refused.
func TestEntryOfAnotherTermIsFound(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	st.check(st.log.Append([]*raftpb.Message{message(true, append(run(2, 5, 1), run(6, 9, 3)...)...)}))
	b := st.store.NewBatch()
	st.check(errors.Join(b.Append(entryKey(5), appendEntry(nil, entry(5, 4, "x"))), b.Commit(true), b.Close()))
	st.check(st.reopen())
	if term, err := st.log.Term(5); !errors.Is(err, ErrCorrupt) {
		t.Errorf("term %d, %v; want an error: the last entry is of term 3", term, err)
	}
}

// TestNewest: what is kept is limited by entries and by bytes, also after a reopening, when the
// sizes are estimated.
func TestNewest(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	const count, bytes = 100, 10_000
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range uint64(count) {
		data := make([]byte, bytes-entryOverhead)
		for j := range data {
			data[j] = byte(rng.Uint32()) // must not be compressed
		}
		st.check(st.log.Append([]*raftpb.Message{message(true, entry(2+i, 1, string(data)))}))
	}
	st.applied = 101
	check := func(when string, slack uint64) {
		t.Helper()
		for _, c := range []struct{ last, entries, bytes, want uint64 }{
			{101, 0, math.MaxUint64, 101},
			{101, 7, math.MaxUint64, 94},
			{101, 1000, math.MaxUint64, 1},
			{101, 1000, 0, 101},
			{101, 1000, bytes - 1 - bytes/20*slack, 101},
			{101, 1000, 20*bytes + bytes/20*slack, 81},
			{81, 1000, 20*bytes + bytes/20*slack, 61},
			{101, 7, 20 * bytes, 94},
			{1, 1000, math.MaxUint64, 1},
		} {
			got := st.log.Newest(c.last, c.entries, c.bytes)
			if max(got, c.want)-min(got, c.want) > slack {
				t.Errorf("%s: of the entries up to %d, %d entries or %d bytes begin after %d, want %d", when, c.last, c.entries, c.bytes, got, c.want)
			}
		}
	}
	check("in memory", 0)
	st.check(st.reopen())
	check("reopened", 1)
	st.check(st.log.Truncate(91))
	if got := st.log.Newest(101, 1000, math.MaxUint64); got != 91 {
		t.Errorf("the log begins after 91, Newest returns %d", got)
	}
	st.check(st.log.Install(300, 5, nil))
	if got := st.log.Newest(300, 1000, math.MaxUint64); got != 300 {
		t.Errorf("the log is empty after 300, Newest returns %d", got)
	}
}

// TestTruncationWhileReading: a reader whose entries are truncated meanwhile is told that they were
// truncated. Raft panics at any other error.
func TestTruncationWhileReading(t *testing.T) {
	st := newState(t, 1, 1)
	defer func() { st.check(st.store.Close()) }()
	const last = 800
	var entries []*raftpb.Entry
	for i := uint64(2); i <= last; i++ {
		entries = append(entries, entry(i, i, fmt.Sprint(i)))
	}
	st.check(st.log.Append([]*raftpb.Message{message(true, entries...)}))
	st.applied = last
	st.check(st.reopen())
	done := make(chan error, 1)
	go func() {
		var err error
		for i := uint64(2); i < last && err == nil; i++ {
			err = st.log.Truncate(i)
		}
		done <- err
	}()
	for {
		first, _ := st.log.FirstIndex()
		if _, err := st.log.Term(first); err != nil && !errors.Is(err, raft.ErrCompacted) {
			t.Errorf("term of entry %d: %v", first, err)
		}
		if _, err := st.log.Entries(first, first+1, 1<<20); err != nil && !errors.Is(err, raft.ErrCompacted) {
			t.Errorf("entry %d: %v", first, err)
		}
		if t.Failed() || first == last {
			break
		}
	}
	st.check(<-done)
}
