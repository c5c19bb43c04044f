package mvcc

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/kv"
)

// history collects the events of [from, to] as lines.
func (st *state) history(from, to int64) (events []string, oldest int64, err error) {
	oldest, err = st.s.History(from, to, func(e *kv.Event) bool {
		events = append(events, fmt.Sprintf("%v %d %q %q was %v", e.Record.Mod, e.Type, e.Key, e.Record.Value, e.Prev.Mod))
		return true
	})
	return events, oldest, err
}

// TestHistory compares History for random spans with Events of each batch when it was published.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &modelRun{state: newState(t), m: newModel()}
		defer r.close()
		var events []kv.Event
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			r.begin()
			for range rapid.IntRange(1, 5).Draw(t, "commands") {
				r.drawCommand(t)
			}
			if rapid.IntRange(0, 3).Draw(t, "compacts") == 0 {
				r.compact(t)
			}
			r.commit()
			n := 0
			for e := range r.w.Events() {
				events = append(events, *e)
				n++
			}
			if n != r.w.EventCount() {
				t.Fatalf("%d events of %d", n, r.w.EventCount())
			}
			if rapid.IntRange(0, 5).Draw(t, "reopens") == 0 {
				r.reopen()
			}
			from := rapid.Int64Range(0, r.m.revision()+2).Draw(t, "from")
			to := rapid.Int64Range(0, r.m.revision()).Draw(t, "to")
			got, oldest, err := r.history(from, to)
			if first := max(from, FirstRevision+1); first <= to && first < r.m.compact {
				if !errors.Is(err, ErrCompacted) || oldest != r.m.compact || got != nil {
					t.Fatalf("history from %d, compacted at %d: oldest %d, %v", from, r.m.compact, oldest, err)
				}
				continue
			}
			var want []string
			for _, e := range events {
				if e.Record.Mod.Main >= from && e.Record.Mod.Main <= to {
					want = append(want, fmt.Sprintf("%v %d %q %q was %v", e.Record.Mod, e.Type, e.Key, e.Record.Value, e.Prev.Mod))
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("history of [%d, %d]: %v, %v, want %v", from, to, got, err, want)
			}
		}
	})
}

// TestHistoryStops: History stops when its visitor returns false, and at the published revision.
func TestHistoryStops(t *testing.T) {
	st := testState(t)
	for i := range 5 {
		st.each(put(keyN(i), "v"))
	}
	n := 0
	_, err := st.s.History(0, 6, func(*kv.Event) bool {
		n++
		return n < 3
	})
	if err != nil || n != 3 {
		t.Errorf("visited %d events, %v", n, err)
	}
	st.begin()
	st.check(st.command(put("unpublished", "v")))
	st.commitUnpublished()
	if got, _, err := st.history(2, 6); err != nil || len(got) != 5 {
		t.Errorf("beside an unpublished batch: %v, %v", got, err)
	}
}

// TestHistoryOvertakenBeforePublish: a compaction that is in the store but not published causes
// ErrCompacted, not a history with a gap.
func TestHistoryOvertakenBeforePublish(t *testing.T) {
	st := compactedUnpublished(t)
	if got, oldest, err := st.history(95, 101); !errors.Is(err, ErrCompacted) || oldest != 103 || got != nil {
		t.Errorf("%v, oldest %d, %v", got, oldest, err)
	}
}
