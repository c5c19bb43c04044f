package mvcc

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/kv"
)

// keyHistory returns the versions of KeyHistory as texts.
func (st *state) keyHistory(key string, before int64) (versions []string) {
	err := st.s.KeyHistory([]byte(key), before, func(rec *kv.Record, _ kv.Action) bool {
		versions = append(versions, versionText(rec))
		return true
	})
	st.check(err)
	return versions
}

func versionText(rec *kv.Record) string {
	if rec.Deleted {
		return fmt.Sprintf("%d deleted", rec.Mod.Main)
	}
	return fmt.Sprintf("%d %s v%d", rec.Mod.Main, rec.Value, rec.Version)
}

// TestKeyHistory compares the history of a key with the changes that were made.
func TestKeyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newState(t)
		defer st.close()
		var made []kv.Record // oldest first
		compacted := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			switch rapid.IntRange(0, 9).Draw(t, "change") {
			case 0:
				st.each(put("other", "x"))
			case 1:
				if len(made) > 0 && !made[len(made)-1].Deleted {
					st.each(del(span("k", "")))
					made = append(made, kv.Record{Mod: kv.Revision{Main: st.s.Head().Revision}, Deleted: true})
				}
			default:
				version := int64(1)
				if n := len(made); n > 0 && !made[n-1].Deleted {
					version = made[n-1].Version + 1
				}
				value := fmt.Sprint(len(made))
				st.each(put("k", value))
				made = append(made, kv.Record{Mod: kv.Revision{Main: st.s.Head().Revision}, Version: version, Value: []byte(value)})
			}
		}
		head := st.s.Head().Revision
		if rapid.Bool().Draw(t, "compacts") && head > FirstRevision {
			compacted = rapid.Int64Range(FirstRevision+1, head).Draw(t, "compact to")
			st.begin()
			st.check(st.w.Compact(compacted))
			st.commit()
		}
		// The versions made at or after the compact revision are kept, and the one that was
		// current at it.
		var want []string
		before := rapid.Int64Range(0, head+2).Draw(t, "before")
		for _, rec := range slices.Backward(made) {
			if before == 0 || rec.Mod.Main < before {
				if rec.Mod.Main >= compacted || !rec.Deleted {
					want = append(want, versionText(&rec))
				}
			}
			if rec.Mod.Main <= compacted {
				break
			}
		}
		if got := st.keyHistory("k", before); !slices.Equal(got, want) {
			t.Fatalf("compacted at %d, before %d:\n got %q\nwant %q", compacted, before, got, want)
		}
		if got := st.keyHistory("never", 0); got != nil {
			t.Fatalf("a key that never was: %q", got)
		}
	})
}

// Readings of the past have the keys and counts of then.
func TestReadingAt(t *testing.T) {
	st := testState(t)
	st.each(put("a", "1"), put("b", "1"), put("c", "1"), del(span("b", "")), put("a", "2"), put("d", "1"))
	count := func(revision int64) string {
		r, err := st.s.ReadingAt(revision)
		if err != nil {
			return err.Error()
		}
		walked := ""
		st.check(r.Walk([]byte("a"), []byte("d"), func(key []byte, rec *kv.Record) ([]byte, bool) {
			walked += string(key) + string(rec.Value)
			return nil, true
		}))
		n, err := r.Count([]byte("a"), []byte("d"))
		st.check(err)
		total, err := r.Count(nil, nil)
		st.check(err)
		return fmt.Sprintf("%s %d of %d", walked, n, total)
	}
	for revision, want := range map[int64]string{
		0: "a2c1 2 of 3", 1: " 0 of 0", 3: "a1b1 2 of 2", 5: "a1c1 2 of 2", 7: "a2c1 2 of 3", 8: ErrFutureRevision.Error(),
	} {
		if got := count(revision); got != want {
			t.Errorf("at %d: %s, want %s", revision, got, want)
		}
	}
	st.begin()
	st.check(st.w.Compact(5))
	st.commit()
	if got := count(4); got != ErrCompacted.Error() {
		t.Errorf("compacted: %s", got)
	}
}

// stopper ends a walk at its first pause.
type stopper struct{ at []byte }

var errStopped = errors.New("stopped")

func (s *stopper) Pause() error { return errStopped }

func (s *stopper) PauseAt(key []byte) error {
	s.at = append([]byte(nil), key...)
	return errStopped
}

// A walk that is ended can continue where it was, also among deleted keys.
func TestPauseAt(t *testing.T) {
	st := testState(t)
	const keys = 1000
	st.each(func(w *Writer) error {
		for i := range keys {
			if err := put(keyN(i), "v")(w); err != nil {
				return err
			}
		}
		return nil
	}, del(span(keyN(1), keyN(keys-1))))
	var seen []string
	walks := 0
	for from := []byte(keyN(0)); ; walks++ {
		s := new(stopper)
		err := st.s.Reading().Limited(s).Walk(from, nil, func(key []byte, _ *kv.Record) ([]byte, bool) {
			seen = append(seen, string(key))
			return nil, true
		})
		if err == nil {
			break
		}
		if !errors.Is(err, errStopped) || string(s.at) <= string(from) {
			t.Fatalf("from %q: %v at %q", from, err, s.at)
		}
		from = s.at
	}
	if !slices.Equal(seen, []string{keyN(0), keyN(keys - 1)}) || walks < 2 {
		t.Errorf("%d walks see %q", walks, seen)
	}
}
