package check

import (
	"cmp"
	"slices"
)

// linearizer finds an order of the requests of a history that explains their responses, revision by
// revision.
//
// At each revision there is a group: the requests that were executed at it and did not move it.
// Their order is found by search, which is short, since most of them only read. Then comes the
// request that moved the revision: the one whose response has the revision; else one whose outcome
// is unknown, or the expiry of a lease or TTL, by which the cluster itself moves it. The events
// that watchers received at the revision decide.
//
// Requests whose responses have no revision get the earliest place that explains them. Any place
// would do, since they change nothing.
type linearizer struct {
	o        Options
	res      *Result
	timeline map[int64][]Event // the events that watchers received of each revision, by key
	dirs     map[int64]bool    // whether those include events of directories
	seen     map[int64]int64   // when a client first saw a revision
	sighted  []int64           // see sightedBy
	last     int64             // the last revision that a client saw

	readers, writers, unclear map[int64][]*Operation
	floating                  []*Operation // by Call
	unknown                   []*Operation // not yet placed, by Call

	byReturn []*Operation // those whose revision is known
	placed   map[*Operation]bool

	s *State
}

func linearize(h *History, o Options, res *Result) {
	l := newLinearizer(h, o, res)
	res.States, res.Changes = []*State{l.s}, [][]Event{nil}
	l.resolveUnclear(l.s.Revision, nil)
	for len(res.Violations) == 0 {
		more := l.s.Revision < l.last
		if !l.advance(more) || !more {
			break
		}
	}
	if len(res.Violations) == 0 {
		l.float(nil)
		for _, f := range l.floating {
			res.add("linearizable", "nothing explains %v", f)
		}
	}
	res.Placed = len(l.placed)
}

func newLinearizer(h *History, o Options, res *Result) *linearizer {
	l := &linearizer{
		o: o, res: res, timeline: map[int64][]Event{}, dirs: map[int64]bool{}, seen: map[int64]int64{}, placed: map[*Operation]bool{}, s: NewState(),
		readers: map[int64][]*Operation{}, writers: map[int64][]*Operation{}, unclear: map[int64][]*Operation{},
	}
	for i := range h.Operations {
		l.sort(&h.Operations[i])
	}
	byCall := func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) }
	for _, m := range []map[int64][]*Operation{l.readers, l.writers, l.unclear} {
		for _, ops := range m {
			slices.SortStableFunc(ops, byCall)
		}
	}
	slices.SortStableFunc(l.floating, byCall)
	slices.SortStableFunc(l.unknown, byCall)
	slices.SortStableFunc(l.byReturn, func(a, b *Operation) int { return cmp.Compare(a.Return, b.Return) })
	for i := range h.Watches {
		l.gather(&h.Watches[i])
	}
	return l
}

// sort classifies a request by its effect.
func (l *linearizer) sort(o *Operation) {
	switch {
	case !o.Known():
		if !readOnly(&o.Request) {
			l.unknown = append(l.unknown, o)
		}
		return
	case o.Response.Err == ErrRefused:
		return
	}
	l.sight(o.Response.Revision, o.Return)
	if serializable(&o.Request) {
		return
	}
	rev := o.Response.Revision
	if effectOf(o) == floats {
		l.floating = append(l.floating, o)
		return
	}
	l.byReturn = append(l.byReturn, o)
	switch effectOf(o) {
	case reads:
		l.readers[rev] = append(l.readers[rev], o)
	case writes:
		l.writers[rev] = append(l.writers[rev], o)
	case unclear:
		l.unclear[rev] = append(l.unclear[rev], o)
	}
}

func serializable(r *Request) bool {
	return r.Range != nil && r.Range.Serializable || r.V2 != nil && r.V2.Do == V2Get && !r.V2.Linearized
}

// sight records that a client saw a revision.
func (l *linearizer) sight(rev, at int64) {
	if t, ok := l.seen[rev]; rev > 0 && (!ok || at < t) {
		l.seen[rev] = at
	}
	l.last = max(l.last, rev)
}

// gather adds the deliveries of a watch to the timeline.
func (l *linearizer) gather(w *Watch) {
	for _, d := range w.Deliveries {
		for _, e := range d.Events {
			rev := e.KV.Mod
			l.sight(rev, d.At)
			l.dirs[rev] = l.dirs[rev] || w.Dirs
			if !slices.ContainsFunc(l.timeline[rev], func(o Event) bool { return o.KV.Key == e.KV.Key && o.Dir == e.Dir }) {
				l.timeline[rev] = append(l.timeline[rev], e)
			}
		}
	}
}

// sightedBy returns when a revision was certainly reached: when it or a later one was first seen.
func (l *linearizer) sightedBy(rev int64) int64 {
	if l.sighted == nil {
		l.sighted = make([]int64, l.last+2)
		l.sighted[l.last+1] = Never
		for r := l.last; r >= 0; r-- {
			l.sighted[r] = l.sighted[r+1]
			if at, ok := l.seen[r]; ok {
				l.sighted[r] = min(l.sighted[r], at)
			}
		}
	}
	return l.sighted[min(rev, l.last+1)]
}

// advance explains the group of the current revision and, if there is more, the move to the next
// one.
func (l *linearizer) advance(more bool) bool {
	rev := l.s.Revision
	goal := func(s *State) (move, bool) { return move{after: s}, true }
	if more {
		goal = l.mover(rev + 1)
	}
	g := group{l: l, budget: searchMax, goal: goal, last: !more, writer: l.writers[rev+1], bound: l.soonestLater(rev + 1)}
	var path []move
	ok := false
	for n := 0; n <= unseenMax && !ok && !g.exhausted; n++ {
		g.unseenMax = n
		path, ok = g.solve(l.s, l.readers[rev], l.active(g.bound), nil)
	}
	if !ok {
		l.explain(&g, rev, more)
		return false
	}
	for _, m := range path {
		if !l.place(m) {
			return false
		}
	}
	return true
}

// place appends one move to the order, after checking it against real time.
func (l *linearizer) place(m move) bool {
	if m.op != nil {
		if !l.float(m.op) {
			return false
		}
		l.mark(m.op)
		if first := l.firstUnplaced(); first != nil && first.Return < m.op.Call {
			l.res.add("linearizable", "%v had returned before %v was called, but comes after it by its revision", first, m.op)
			return false
		}
	}
	if m.early != "" {
		l.res.add("lease-early", "%s", m.early)
		return false
	}
	if m.after.Revision > l.s.Revision {
		l.resolveUnclear(m.after.Revision, m.op)
		l.res.States = append(l.res.States, m.after)
		l.res.Changes = append(l.res.Changes, m.events)
		l.checkTimeline(m)
	} else {
		l.res.States[len(l.res.States)-1] = m.after
	}
	l.s = m.after
	l.float(nil)
	return len(l.res.Violations) == 0
}

func (l *linearizer) mark(o *Operation) {
	l.placed[o] = true
	if i := slices.Index(l.unknown, o); i >= 0 {
		l.unknown = slices.Delete(l.unknown, i, i+1)
	}
}

// firstUnplaced returns the request with the earliest Return among those without a place.
func (l *linearizer) firstUnplaced() *Operation {
	for len(l.byReturn) > 0 && l.placed[l.byReturn[0]] {
		l.byReturn = l.byReturn[1:]
	}
	if len(l.byReturn) == 0 {
		return nil
	}
	return l.byReturn[0]
}

// checkTimeline compares the events of a move with those that watchers received for its revision.
func (l *linearizer) checkTimeline(m move) {
	delivered, ok := l.timeline[m.after.Revision]
	if !ok {
		return
	}
	for _, e := range delivered {
		if !slices.ContainsFunc(m.events, func(o Event) bool { return sameEvent(o, e) }) {
			l.res.add("watch-true", "revision %d was %v, watchers received %v", m.after.Revision, m.events, e)
			return
		}
	}
}

// float places the floats that the current state explains; before next, unless nil, after which
// they may be too late.
func (l *linearizer) float(next *Operation) bool {
	// Operations that returned before a float was called come first.
	bound := int64(Never)
	if first := l.firstUnplaced(); first != nil {
		bound = first.Return
	}
	left := l.floating[:0]
	late := (*Operation)(nil)
	for i, f := range l.floating {
		if f.Call > bound {
			left = append(left, l.floating[i:]...)
			break
		}
		if l.explains(f) {
			l.placed[f] = true
			continue
		}
		if next != nil && next.Call > f.Return {
			late = f
		}
		left = append(left, f)
	}
	l.floating = left
	if late != nil {
		l.res.add("linearizable", "no state explains %v; the last that could was at revision %d", late, l.s.Revision)
		return false
	}
	return true
}

func (l *linearizer) explains(f *Operation) bool {
	_, _, ok := try(l.s, f, l.o.ClockSlack)
	return ok
}

// active returns the floats that may be placed now: everything that must precede them is in this
// group or before.
func (l *linearizer) active(bound int64) []*Operation {
	n := 0
	for n < len(l.floating) && l.floating[n].Call <= bound {
		n++
	}
	return l.floating[:n:n]
}
