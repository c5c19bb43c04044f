package mvcc

import (
	"bytes"
	"container/heap"
	"slices"

	"cairn/internal/kv"
)

// recordBytes is what a gathered record costs besides its key and value.
const recordBytes = 160

// runSorted gathers the admitted keys, the first cut of them when cut is not 0, and gives them to
// sink in order. With a limit and without a cut it keeps no more keys than the limit.
func (v view) runSorted(op *RangeOp, lower, upper []byte, order SortOrder, cut int64, sink Sink,
	count func(lower, upper []byte) (int64, error),
) (sum RangeSummary, err error) {
	g := gathering{keysOnly: op.KeysOnly && op.Target != SortByValue, in: ordering{target: op.Target, descend: order == SortDescend}}
	if cut == 0 {
		g.limit = op.Limit
	}
	gatherer, _ := sink.(Gatherer)
	seen, cutShort, stopped := int64(0), false, false
	err = v.walk(lower, upper, func(key []byte, r *kv.Record) bool {
		if cut > 0 && seen == cut {
			cutShort = true
			return false
		}
		seen++
		kept := 0
		if op.admits(r) {
			kept = g.add(key, r)
		}
		stopped = gatherer != nil && !gatherer.Gather(kept)
		return !stopped
	})
	if stopped {
		return sum, err
	}
	sum.Count = seen
	if err == nil && cutShort {
		sum.More = true
		sum.Count, err = count(lower, upper)
	}
	if err != nil {
		return sum, err
	}
	sum.More = sum.More || op.Limit > 0 && g.admitted > op.Limit
	return sum, g.give(op.Limit, sink, v.pause)
}

// ranked is a record with its place in the order of the keys.
type ranked struct {
	KeyRecord
	place int64
}

func (r *ranked) bytes() int { return recordBytes + len(r.Key) + len(r.Value) }

// ordering is the order of a sorted range. Records that compare as equal stay in the order of their
// keys, whichever the direction.
type ordering struct {
	target  SortTarget
	descend bool
}

func (o ordering) compare(a, b *ranked) int {
	c := compareBy(o.target, &a.KeyRecord, &b.KeyRecord)
	switch {
	case c == 0:
		return number(a.place, b.place)
	case o.descend:
		return -c
	default:
		return c
	}
}

// gathering is what a sorted range keeps of the records that it has read.
//
// Invariant: with a limit, once that many are kept, kept is a heap with the last in order first;
// unless the order is that of the keys, in which the first that come are the first in order.
type gathering struct {
	in       ordering
	keysOnly bool
	limit    int64 // 0: none
	admitted int64
	kept     []ranked
}

// add takes a record. It returns by how many bytes what is kept has grown.
func (g *gathering) add(key []byte, r *kv.Record) (grown int) {
	g.admitted++
	lent := ranked{KeyRecord{Key: key, Record: *r}, g.admitted}
	if g.keysOnly {
		lent.Value = nil
	}
	full := g.limit > 0 && int64(len(g.kept)) == g.limit
	if full && g.in.compare(&lent, &g.kept[0]) > 0 {
		return 0
	}
	lent.Key, lent.Value = bytes.Clone(lent.Key), bytes.Clone(lent.Value)
	if full {
		grown = lent.bytes() - g.kept[0].bytes()
		g.kept[0] = lent
		heap.Fix(g, 0)
		return grown
	}
	g.kept = append(g.kept, lent)
	if int64(len(g.kept)) == g.limit && g.in != (ordering{}) {
		heap.Init(g)
	}
	return lent.bytes()
}

// Len implements heap.Interface.
func (g *gathering) Len() int { return len(g.kept) }

// Less implements heap.Interface.
func (g *gathering) Less(i, j int) bool { return g.in.compare(&g.kept[i], &g.kept[j]) > 0 }

// Swap implements heap.Interface.
func (g *gathering) Swap(i, j int) { g.kept[i], g.kept[j] = g.kept[j], g.kept[i] }

// Push implements heap.Interface. Records are added by add.
func (g *gathering) Push(any) {}

// Pop implements heap.Interface. Records are not taken out.
func (g *gathering) Pop() any { return nil }

// runRecords is how many records are sorted between two pauses.
const runRecords = 2 << 10

// give adds the first limit records, or all when limit is 0, to sink in order. It sorts runs of
// them and merges these, with pauses: a sort of a million records takes a second.
func (g *gathering) give(limit int64, sink Sink, pause func() error) error {
	if pause == nil {
		pause = func() error { return nil }
	}
	m := merge{in: g.in}
	for rest := g.kept; len(rest) > 0; {
		n := min(len(rest), runRecords)
		run := rest[:n:n]
		rest = rest[n:]
		if g.in != (ordering{}) { // by ascending key they are sorted
			slices.SortFunc(run, func(a, b ranked) int { return g.in.compare(&a, &b) })
		}
		m.runs = append(m.runs, run)
		if err := pause(); err != nil {
			return err
		}
	}
	heap.Init(&m)
	for n := int64(0); len(m.runs) > 0 && (limit <= 0 || n < limit); n++ {
		if n%runRecords == runRecords-1 {
			if err := pause(); err != nil {
				return err
			}
		}
		first := &m.runs[0][0]
		if !sink.Add(first.Key, &first.Record) {
			return nil
		}
		*first = ranked{} // the sink has its copy
		if m.runs[0] = m.runs[0][1:]; len(m.runs[0]) == 0 {
			heap.Pop(&m)
		} else {
			heap.Fix(&m, 0)
		}
	}
	return nil
}

// merge is a heap of sorted runs, none of them empty, with that of the first record first.
type merge struct {
	in   ordering
	runs [][]ranked
}

// Len implements heap.Interface.
func (m *merge) Len() int { return len(m.runs) }

// Less implements heap.Interface.
func (m *merge) Less(i, j int) bool { return m.in.compare(&m.runs[i][0], &m.runs[j][0]) < 0 }

// Swap implements heap.Interface.
func (m *merge) Swap(i, j int) { m.runs[i], m.runs[j] = m.runs[j], m.runs[i] }

// Push implements heap.Interface. All runs are there from the beginning.
func (m *merge) Push(any) {}

// Pop implements heap.Interface.
func (m *merge) Pop() any {
	m.runs = m.runs[:len(m.runs)-1]
	return nil
}

func number(x, y int64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

func compareBy(target SortTarget, a, b *KeyRecord) int {
	switch target {
	case SortByVersion:
		return number(a.Version, b.Version)
	case SortByCreate:
		return number(a.CreateRevision, b.CreateRevision)
	case SortByMod:
		return number(a.Mod.Main, b.Mod.Main)
	case SortByValue:
		return bytes.Compare(a.Value, b.Value)
	default:
		return bytes.Compare(a.Key, b.Key)
	}
}
