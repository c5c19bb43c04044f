package mvcc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func (st *state) hash(rev int64, pause func() error) Hash {
	st.t.Helper()
	h, err := st.s.Hash(rev, pause)
	st.check(err)
	return h
}

func goOn() error { return nil }

// TestHashWhileOthersWrite: the hash of a revision is the same while it is overtaken by writes, by
// sweeps, and by a compaction up to it.
func TestHashWhileOthersWrite(t *testing.T) {
	st := newState(t)
	defer st.close()
	big := strings.Repeat("v", hashSliceBytes/3)
	for i := range 12 {
		st.each(put(fmt.Sprint("k", i%7), big+fmt.Sprint(i)), put(fmt.Sprint("gone", i), "x"), del(span(fmt.Sprint("gone", i), "")))
	}
	rev := st.s.Head().Revision
	want := st.hash(rev, goOn)
	if want.Revision != rev || want.CompactRevision != 0 {
		t.Fatalf("%+v of revision %d", want, rev)
	}
	slices := 0
	got := st.hash(rev, func() error {
		slices++
		st.each(put("k3", fmt.Sprint(slices)), put(fmt.Sprint("new", slices), "x"), del(span("k5", "")))
		return nil
	})
	if got != want || slices < 4 {
		t.Errorf("with writes beside it %+v in %d slices, want %+v", got, slices, want)
	}
	// A compaction comes when some of the history has been read.
	compact := func(to int64, at int) func() error {
		n := 0
		return func() error {
			if n++; n == at {
				st.begin()
				st.check(st.w.Compact(to))
				st.commit()
				for more := true; more; {
					var err error
					more, err = st.w.SweepTombstones(2)
					st.check(err)
				}
			}
			return nil
		}
	}
	overtaken := st.hash(rev, compact(rev-9, slices-1))
	after := st.hash(rev, goOn)
	if overtaken != after && overtaken != want {
		t.Errorf("overtaken by a compaction %+v, before it %+v, after it %+v", overtaken, want, after)
	}
	if after.CompactRevision != rev-9 || after.Sum == want.Sum {
		t.Errorf("after the compaction %+v, before it %+v", after, want)
	}
	// A compaction that passes the revision ends the hash, or restarts it when no revision was
	// requested.
	if _, err := st.s.Hash(rev, compact(rev+3, 2)); !errors.Is(err, ErrCompacted) {
		t.Errorf("passed by a compaction: %v", err)
	}
	present := st.hash(0, compact(st.s.Head().Revision, 2))
	if again := st.hash(0, goOn); present != again {
		t.Errorf("present hash %+v; without concurrent writes %+v", present, again)
	}
	stop := errors.New("stop")
	if _, err := st.s.Hash(0, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("ended: %v", err)
	}
	if _, err := st.s.Hash(1_000_000, goOn); !errors.Is(err, ErrFutureRevision) {
		t.Errorf("of a revision to come: %v", err)
	}
}

// TestHashDetects: every difference that a client can see changes the hash.
func TestHashDetects(t *testing.T) {
	seen := map[uint32]string{}
	for name, commands := range map[string][]func(*Writer) error{
		"nothing":       nil,
		"a key":         {put("a", "1")},
		"another key":   {put("b", "1")},
		"another value": {put("a", "2")},
		"moved border":  {put("a1", "")},
		"put twice":     {put("a", "1"), put("a", "1")},
		"deleted":       {put("a", "1"), del(span("a", ""))},
		"put again":     {put("a", "1"), del(span("a", "")), put("a", "1")},
		"other history": {put("a", "2"), del(span("a", "")), put("a", "1")},
	} {
		st := newState(t)
		st.each(commands...)
		h := st.hash(0, goOn)
		if other, ok := seen[h.Sum]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[h.Sum] = name
		st.close()
	}
}

// TestHashKeysAcrossCompaction: a compaction to a revision changes neither the hash at that
// revision nor the compact revision that is returned with it. The hash of an empty store is not 0.
func TestHashKeysAcrossCompaction(t *testing.T) {
	st := newState(t)
	defer st.close()
	hash := func(rev int64) Hash {
		h, err := st.s.HashKeys(rev, goOn)
		st.check(err)
		return h
	}
	if h := hash(0); h.Sum == 0 || h.Revision != FirstRevision {
		t.Errorf("of an empty store: %+v", h)
	}
	st.each(put("a", "1"), put("b", "1"), put("a", "2"), del(span("b", "")), put("c", "1"))
	for _, rev := range []int64{3, 5} {
		before := hash(rev)
		st.begin()
		st.check(st.w.Compact(rev))
		st.commit()
		_, err := st.w.SweepTombstones(100)
		st.check(err)
		if after := hash(rev); after != before {
			t.Errorf("at revision %d: %+v before a compaction to it, %+v after", rev, before, after)
		}
		st.each(put("d", "1"))
		if again := hash(rev); again != before {
			t.Errorf("at revision %d: %+v, after another write %+v", rev, before, again)
		}
	}
	if _, err := st.s.HashKeys(4, goOn); !errors.Is(err, ErrCompacted) {
		t.Errorf("of a compacted revision: %v", err)
	}
}
