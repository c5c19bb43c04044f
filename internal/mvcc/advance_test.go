package mvcc

import (
	"testing"

	"cairn/internal/kv"
)

// TestAdvance counts before, at and after a revision at which no key changed: the count index is
// corrected by the events since, and none may be missing.
func TestAdvance(t *testing.T) {
	st := testState(t)
	st.each(put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1"))
	before := st.s.Head().Revision
	st.each(func(w *Writer) error {
		w.Advance()
		return nil
	})
	if got := st.s.Head().Revision; got != before+1 {
		t.Fatalf("revision %d after Advance at %d", got, before)
	}
	st.each(put("e", "1"))
	for rev, want := range map[int64]int64{before: 4, before + 1: 4, before + 2: 5} {
		var keys Collector
		sum, err := st.s.Range(&RangeOp{KeyRange: all, Revision: rev, Limit: 2}, &keys)
		if err != nil || sum.Count != want {
			t.Errorf("count at %d: %d, %v; want %d", rev, sum.Count, err, want)
		}
	}
	var revisions []int64
	_, err := st.s.History(before+1, st.s.Head().Revision, func(e *kv.Event) bool {
		if !e.Dir {
			revisions = append(revisions, e.Record.Mod.Main)
		}
		return true
	})
	if err != nil || len(revisions) != 1 || revisions[0] != before+2 {
		t.Errorf("history of keys: %v, %v", revisions, err)
	}
	aborted := st.s.Head().Revision
	st.begin()
	st.w.Start()
	st.w.Advance()
	st.w.Abort()
	st.commit()
	if got := st.s.Head().Revision; got != aborted {
		t.Errorf("revision %d after an aborted Advance at %d", got, aborted)
	}
}
