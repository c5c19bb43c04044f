package mvcc

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// TestChainNext compares next with a plain list of all events: the jump of depth d is the event of
// depth d with its lowest set bit cleared.
func TestChainNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []kv.Revision // by depth-1
		var c chain
		last, compacted := kv.Revision{}, int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			mod := kv.Revision{Main: last.Main + rapid.Int64Range(0, 3).Draw(t, "step"), Sub: last.Sub + 1}
			if mod.Main > last.Main || last.IsZero() {
				mod = kv.Revision{Main: max(mod.Main, 1)}
			}
			if rapid.IntRange(0, 19).Draw(t, "compacts") == 0 {
				compacted = rapid.Int64Range(compacted, max(compacted, last.Main)).Draw(t, "at")
			}
			var jump kv.Revision
			c, jump = c.next(nil, last, compacted)
			events, last = append(events, mod), mod

			depth := uint64(len(events))
			var want []kv.Revision
			for d := depth & (depth - 1); d > 0; d &= d - 1 {
				rev := events[d-1]
				if rev.Main <= compacted {
					break
				}
				want = append(want, rev)
			}
			// A former compaction dropped the entries at or before it; those after the current one
			// must exist.
			if c.depth != depth || !slices.Equal(c.path, want) {
				t.Fatalf("depth %d: path %v, want %v", c.depth, c.path, want)
			}
			if len(want) == 0 && !jump.IsZero() || len(want) > 0 && jump != want[0] {
				t.Fatalf("depth %d: jump %v, path %v", c.depth, jump, want)
			}
			d := codec.NewReader(c.append(nil, mod))
			if got := decodeChain(&d, mod); d.End() != nil || got.depth != c.depth || !slices.Equal(got.path, c.path) {
				t.Fatalf("decoded %v, want %v", got, c)
			}
		}
	})
}

// countedEvents counts the events that a view reads.
type countedEvents struct {
	*Store
	reads int
}

func (c *countedEvents) event(rev kv.Revision) (event, error) {
	c.reads++
	return c.Store.event(rev)
}

// TestOldVersionIsFoundInFewReads looks up every version of a key that has thousands: no lookup
// reads more than about log² events.
func TestOldVersionIsFoundInFewReads(t *testing.T) {
	const versions = 2000
	st := testState(t)
	for n := 0; n < versions; {
		st.begin()
		for range 250 {
			n++
			st.check(st.command(put("busy", fmt.Sprint(n))))
			if n%3 == 0 {
				st.check(st.command(put("other", fmt.Sprint(n))))
			}
		}
		st.commit()
	}
	revisionOf := func(n int) int64 { return int64(1 + n + (n-1)/3) }
	log := bits.Len(versions)
	bound := log * (log + 1) / 2
	look := func(from int) (worst, total int) {
		for n := from; n <= versions; n++ {
			src := &countedEvents{Store: st.s}
			v := view{src: src, rev: revisionOf(n)}
			found := ""
			st.check(v.get([]byte("busy"), func(r *kv.Record) { found = string(r.Value) }))
			if found != fmt.Sprint(n) {
				t.Fatalf("at revision %d: %q, want %d", revisionOf(n), found, n)
			}
			worst, total = max(worst, src.reads), total+src.reads
		}
		return worst, total
	}
	worst, total := look(1)
	if worst > bound {
		t.Errorf("worst lookup read %d events, bound %d", worst, bound)
	}
	t.Logf("%d versions: %d reads at worst, %.1f on average", versions, worst, float64(total)/versions)

	st.begin()
	st.check(st.w.Compact(revisionOf(versions / 2)))
	st.commit()
	if worst, _ = look(versions / 2); worst > bound {
		t.Errorf("worst lookup after compaction read %d events, bound %d", worst, bound)
	}
	st.reopen()
	if worst, _ = look(versions / 2); worst > bound {
		t.Errorf("worst lookup after reopening read %d events, bound %d", worst, bound)
	}
}
