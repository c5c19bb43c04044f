package mvcc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/kv"
)

// model is the simplest possible store: a map of all keys for every revision.
type model struct {
	states  []map[string]kv.Record // indexed by main revision
	compact int64
}

func newModel() *model {
	return &model{states: []map[string]kv.Record{nil, {}}}
}

func (m *model) revision() int64 { return int64(len(m.states) - 1) }

// change is one change of a command.
type modelChange struct {
	key string
	op  *PutOp // nil: delete
}

// apply runs the changes of one command; deletes of absent keys do nothing.
func (m *model) apply(changes []modelChange) {
	next := maps.Clone(m.states[m.revision()])
	rev := kv.Revision{Main: m.revision() + 1}
	for _, c := range changes {
		old, live := next[c.key]
		switch {
		case c.op != nil:
			r := kv.Record{CreateRevision: rev.Main, Version: 1, Mod: rev, Value: c.op.Value, Deadline: c.op.Deadline}
			if live && !c.op.Recreate {
				r.CreateRevision, r.Version = old.CreateRevision, old.Version+1
			}
			next[c.key] = r
		case live:
			delete(next, c.key)
		default:
			continue
		}
		rev.Sub++
	}
	if rev.Sub > 0 {
		m.states = append(m.states, next)
	}
}

func (m *model) rangeAt(op *RangeOp) (RangeResult, error) {
	rev := op.Revision
	switch {
	case rev <= 0:
		rev = m.revision()
	case rev > m.revision():
		return RangeResult{}, ErrFutureRevision
	case rev < m.compact:
		return RangeResult{}, ErrCompacted
	}
	res := RangeResult{Revision: m.revision()}
	var keys []KeyRecord
	for _, k := range slices.Sorted(maps.Keys(m.states[rev])) {
		if op.Contains([]byte(k)) {
			keys = append(keys, KeyRecord{[]byte(k), m.states[rev][k]})
		}
	}
	res.Count = int64(len(keys))
	if op.CountOnly {
		return res, nil
	}
	order := op.Order
	if order == SortNone && op.Target != SortByKey {
		order = SortAscend
		if op.Limit > 0 && !op.Bounded() {
			keys = keys[:min(len(keys), int(op.Limit)+1)]
			res.More = res.Count > op.Limit
		}
	}
	keys = slices.DeleteFunc(keys, func(k KeyRecord) bool {
		return op.MinMod != 0 && k.Mod.Main < op.MinMod || op.MaxMod != 0 && k.Mod.Main > op.MaxMod ||
			op.MinCreate != 0 && k.CreateRevision < op.MinCreate || op.MaxCreate != 0 && k.CreateRevision > op.MaxCreate
	})
	by := []func(a, b KeyRecord) int{
		func(a, b KeyRecord) int { return bytes.Compare(a.Key, b.Key) },
		func(a, b KeyRecord) int { return cmp.Compare(a.Version, b.Version) },
		func(a, b KeyRecord) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) },
		func(a, b KeyRecord) int { return cmp.Compare(a.Mod.Main, b.Mod.Main) },
		func(a, b KeyRecord) int { return bytes.Compare(a.Value, b.Value) },
	}[op.Target]
	switch order {
	case SortAscend:
		slices.SortStableFunc(keys, by)
	case SortDescend:
		slices.SortStableFunc(keys, func(a, b KeyRecord) int { return by(b, a) })
	}
	// etcd sorts by one field only; ties are in the order of their keys, because the sort above is
	// stable.
	if op.Limit > 0 && int64(len(keys)) > op.Limit && !op.SingleKey() {
		keys, res.More = keys[:op.Limit], true
	}
	if op.KeysOnly {
		for i := range keys {
			keys[i].Value = nil
		}
	}
	res.Keys = keys
	return res, nil
}

func compareRanges(got, want RangeResult) error {
	switch {
	case got.Revision != want.Revision:
		return fmt.Errorf("read at %d, want %d", got.Revision, want.Revision)
	case got.Count != want.Count:
		return fmt.Errorf("count %d, want %d", got.Count, want.Count)
	case got.More != want.More:
		return fmt.Errorf("more %v, want %v", got.More, want.More)
	}
	equal := func(a, b KeyRecord) bool {
		return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
			a.Mod == b.Mod && a.Version == b.Version && a.Lease == b.Lease && a.Deadline == b.Deadline
	}
	if !slices.EqualFunc(got.Keys, want.Keys, equal) {
		show := func(keys []KeyRecord) (s string) {
			for i := range keys {
				s += "\n  " + showKey(&keys[i])
			}
			return s
		}
		return fmt.Errorf("keys%s\nwant%s", show(got.Keys), show(want.Keys))
	}
	return nil
}

// modelKeys is the number of different keys in the model test: few enough to be overwritten often;
// some are prefixes of others.
const modelKeys = 24

func drawKey(t *rapid.T) string {
	n := rapid.IntRange(0, modelKeys-1).Draw(t, "key")
	return []string{"", "a", "a\x00", "a\xff", "b", "b/", "b/a"}[n%7] + fmt.Sprint(n/7)
}

func drawRange(t *rapid.T) kv.KeyRange {
	r := kv.KeyRange{Key: []byte(drawKey(t))}
	switch rapid.IntRange(0, 4).Draw(t, "range") {
	case 0:
	case 1:
		r.End = []byte{0}
	case 2:
		return all
	default:
		r.End = []byte(drawKey(t))
	}
	return r
}

func drawRangeOp(t *rapid.T, revision int64) *RangeOp {
	op := &RangeOp{KeyRange: drawRange(t), Revision: rapid.Int64Range(0, revision+1).Draw(t, "rev")}
	if rapid.Bool().Draw(t, "plain") {
		op.Limit = rapid.Int64Range(0, 5).Draw(t, "limit")
		op.CountOnly = rapid.Bool().Draw(t, "count")
		return op
	}
	op.Limit = rapid.Int64Range(0, 5).Draw(t, "limit")
	op.Order = SortOrder(rapid.IntRange(0, 2).Draw(t, "order"))
	op.Target = SortTarget(rapid.IntRange(0, 4).Draw(t, "target"))
	op.KeysOnly = rapid.Bool().Draw(t, "keys")
	if op.Target == SortByValue {
		op.KeysOnly = false // so that the sink gets values, which it drops itself
	}
	for _, p := range []*int64{&op.MinMod, &op.MaxMod, &op.MinCreate, &op.MaxCreate} {
		if rapid.IntRange(0, 3).Draw(t, "bounded") == 0 {
			*p = rapid.Int64Range(0, revision).Draw(t, "bound")
		}
	}
	return op
}

// modelRun is a store and its model.
type modelRun struct {
	*state
	m     *model
	value int
}

// drawCommand runs a random command on both, inside the open batch.
func (r *modelRun) drawCommand(t *rapid.T) {
	var changes []modelChange
	r.w.Start()
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "changes") {
		if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
			r.value++
			op := &PutOp{Key: []byte(drawKey(t)), Value: []byte(fmt.Sprint(r.value)), Recreate: rapid.IntRange(0, 9).Draw(t, "recreate") == 0}
			_, err := r.w.Put(op)
			r.check(err)
			changes = append(changes, modelChange{string(op.Key), op})
			continue
		}
		rg := drawRange(t)
		var want []string
		after := *r.m
		after.states = slices.Clone(r.m.states)
		after.apply(changes)
		for _, k := range slices.Sorted(maps.Keys(after.states[after.revision()])) {
			if rg.Contains([]byte(k)) {
				want = append(want, k)
				changes = append(changes, modelChange{k, nil})
			}
		}
		res, err := r.w.Delete(&DeleteOp{KeyRange: rg, PrevKV: true})
		r.check(err)
		var got []string
		for _, p := range res.Prev {
			got = append(got, string(p.Key))
		}
		if !slices.Equal(got, want) || res.Deleted != int64(len(want)) {
			t.Fatalf("deleted %d %q, want %q", res.Deleted, got, want)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "abort") == 0 {
		r.w.Abort()
		return
	}
	// The open command must read what the model has after it.
	after := *r.m
	after.states = slices.Clone(r.m.states)
	after.apply(changes)
	r.compare(t, &after, func(op *RangeOp, sink Sink) (RangeSummary, error) { return r.w.Range(op, sink) }, r.w.Revision())
	r.check(r.w.End())
	r.m.apply(changes)
}

// compare reads a random range of both.
func (r *modelRun) compare(t *rapid.T, m *model, read func(*RangeOp, Sink) (RangeSummary, error), revision int64) {
	op := drawRangeOp(t, revision)
	want, wantErr := m.rangeAt(op)
	keys := Collector{KeysOnly: op.KeysOnly}
	sum, err := read(op, &keys)
	if !errors.Is(err, wantErr) || err != nil && wantErr == nil {
		t.Fatalf("%+v: error %v, want %v", op, err, wantErr)
	}
	if err != nil {
		return
	}
	got := RangeResult{Revision: sum.Revision, Keys: keys.Keys, More: sum.More, Count: sum.Count}
	if err := compareRanges(got, want); err != nil {
		t.Fatalf("%+v: %v", op, err)
	}
}

func (r *modelRun) compact(t *rapid.T) {
	rev := rapid.Int64Range(1, r.m.revision()+1).Draw(t, "compact")
	var want error
	switch {
	case rev <= r.m.compact:
		want = ErrCompacted
	case rev > r.m.revision():
		want = ErrFutureRevision
	default:
		r.m.compact = rev
	}
	if err := r.w.Compact(rev); !errors.Is(err, want) {
		t.Fatalf("compact %d: %v, want %v", rev, err, want)
	}
}

// TestModel runs random commands in batches of random sizes, with compactions, sweeps
// and restarts in between, and compares reads at random revisions with the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &modelRun{state: newState(t), m: newModel()}
		defer r.close()
		for range rapid.IntRange(1, 25).Draw(t, "batches") {
			r.begin()
			for range rapid.IntRange(0, 8).Draw(t, "commands") {
				if rapid.IntRange(0, 11).Draw(t, "compacts") == 0 {
					r.compact(t)
				} else {
					r.drawCommand(t)
				}
			}
			r.commit()
			switch rapid.IntRange(0, 7).Draw(t, "between") {
			case 0:
				r.reopen()
			case 1, 2:
				_, err := r.w.SweepTombstones(rapid.IntRange(1, 10).Draw(t, "sweep"))
				r.check(err)
			}
			for range 4 {
				r.compare(t, r.m, r.s.Range, r.m.revision())
			}
			r.checkCounts()
		}
	})
}

// TestEventsAreComplete checks that table r has, for each revision from the
// compaction on, exactly the changes of the model: watchers catch up by reading it.
func TestEventsAreComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &modelRun{state: newState(t), m: newModel()}
		defer r.close()
		for range rapid.IntRange(1, 10).Draw(t, "batches") {
			r.begin()
			for range rapid.IntRange(1, 6).Draw(t, "commands") {
				r.drawCommand(t)
			}
			if rapid.IntRange(0, 3).Draw(t, "compacts") == 0 {
				r.compact(t)
			}
			r.commit()
		}
		at, sub := max(r.m.compact-1, FirstRevision), int64(0)
		seen := maps.Clone(r.m.states[at])
		r.walkTable('r', func(key, value []byte) {
			rev, err := parseEventKey(append([]byte{'r'}, key...))
			r.check(err)
			e, err := decodeEvent(rev, value)
			r.check(err)
			if rev.Main != at {
				if rev != (kv.Revision{Main: at + 1}) {
					t.Fatalf("event %v after %d/%d", rev, at, sub)
				}
				r.sameKeys(t, at, seen)
				at, sub = rev.Main, 0
			}
			if rev.Sub != sub {
				t.Fatalf("event %v, want sub %d", rev, sub)
			}
			sub++
			old, had := seen[string(e.Key)]
			prevLive := !e.Prev.Mod.IsZero() && !e.Prev.Deleted
			if gone := rev.Main == r.m.compact && had && len(old.Value) > 0; e.PrevGone != gone {
				t.Fatalf("event %v, compacted to %d: replaced value dropped: %v", rev, r.m.compact, e.PrevGone)
			} else if gone {
				old.Value = nil
			}
			if had != prevLive || had && (old.Mod != e.Prev.Mod || string(old.Value) != string(e.Prev.Value)) {
				t.Fatalf("event %v replaced %+v, was %+v", rev, e.Prev, old)
			}
			if e.Type == kv.EventDelete {
				delete(seen, string(e.Key))
			} else {
				e.Record.Value = bytes.Clone(e.Record.Value) // valid only during the call
				seen[string(e.Key)] = e.Record
			}
		})
		if at != r.m.revision() {
			t.Fatalf("events end at %d, want %d", at, r.m.revision())
		}
		r.sameKeys(t, at, seen)
	})
}

func (r *modelRun) sameKeys(t *rapid.T, rev int64, seen map[string]kv.Record) {
	want := r.m.states[rev]
	same := maps.EqualFunc(seen, want, func(a, b kv.Record) bool {
		return a.Mod == b.Mod && a.Version == b.Version && a.CreateRevision == b.CreateRevision && string(a.Value) == string(b.Value)
	})
	if !same {
		t.Fatalf("events lead at %d to %v, want %v", rev, seen, want)
	}
}
