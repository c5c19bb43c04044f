package check

import (
	"fmt"
	"slices"
)

// searchMax limits the search for the order of one group.
const searchMax = 20_000

// unseenMax limits the moves in one group that neither a watcher nor a response shows.
const unseenMax = 4

// move is one step of the order: an executed request, or the expiry of a lease or TTL (op is nil).
type move struct {
	op     *Operation
	after  *State
	events []Event
	early  string // why the expiry is too early
}

// group is the search for the order of the requests of one revision.
type group struct {
	l      *linearizer
	budget int
	// last means that no revision follows: all floats have to be explained. writer is the request
	// that makes the next revision, if known.
	last   bool
	writer []*Operation
	// unseenMax limits the moves that no watcher saw: as few as possible.
	unseenMax int
	// bound is the earliest Return of the requests that come later.
	bound int64
	// goal is the move that must be possible at the end.
	goal func(s *State) (move, bool)
	// stuck has the unplaced requests where the search got furthest.
	stuck, stuckFloats []*Operation
	stuckOn            *State
	exhausted          bool
	been               map[string][]*State // see beenThere
}

// solve returns moves that place all of left and reach the goal. waiting are the floats that no
// state so far has explained: a request that was called after one of them returned must follow it.
func (g *group) solve(s *State, left, waiting []*Operation, path []move) ([]move, bool) {
	if g.budget--; g.budget < 0 {
		g.exhausted = true
		return nil, false
	}
	waiting = g.unexplained(s, left, waiting)
	if g.beenThere(s, left, waiting) {
		return nil, false
	}
	may := func(o *Operation) bool {
		return !slices.ContainsFunc(waiting, func(f *Operation) bool { return f.Return < o.Call })
	}
	// An explained read is placed at once: that makes no other move impossible.
	for again := true; again; {
		again = false
		soonest := soonestReturn(left)
		for i, o := range left {
			if o.Call > soonest || !readOnly(&o.Request) && o.Response.Err == "" || !may(o) {
				continue
			}
			if _, _, ok := try(s, o, g.l.o.ClockSlack); ok {
				path = append(slices.Clip(path), move{op: o, after: s})
				left = slices.Delete(slices.Clone(left), i, i+1)
				waiting = g.unexplained(s, left, waiting)
				again = true
				break
			}
		}
	}
	if len(left) == 0 && (!g.last || len(waiting) == 0) {
		if m, ok := g.goal(s); ok && (m.op == nil || may(m.op)) {
			if m.op == nil && m.after == s {
				return path, true
			}
			return append(slices.Clip(path), m), true
		}
	}
	if g.stuckOn == nil || len(left)+len(waiting) < len(g.stuck)+len(g.stuckFloats) {
		g.stuck, g.stuckFloats, g.stuckOn = left, waiting, s
	}
	soonest := soonestReturn(left)
	for i, o := range left {
		if o.Call > soonest || !may(o) {
			continue
		}
		next, events, ok := try(s, o, g.l.o.ClockSlack)
		if !ok || next.Revision != s.Revision || len(events) > 0 {
			continue
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		if done, ok := g.solve(next, rest, waiting, append(slices.Clip(path), move{op: o, after: next})); ok {
			return done, true
		}
	}
	if g.unseenMax == 0 {
		return nil, false
	}
	g.unseenMax--
	defer func() { g.unseenMax++ }()
	for _, m := range g.l.unseen(s, append(append(slices.Clone(left), waiting...), g.writer...)) {
		if m.op != nil && (m.op.Call > soonest || !may(m.op) || slices.ContainsFunc(path, func(p move) bool { return p.op == m.op })) {
			continue
		}
		if done, ok := g.solve(m.after, left, waiting, append(slices.Clip(path), m)); ok {
			return done, true
		}
	}
	return nil, false
}

// beenThere reports whether the search has visited this state before with the same requests left,
// and records the visit.
func (g *group) beenThere(s *State, left, waiting []*Operation) bool {
	key := make([]byte, 0, 10*(len(left)+len(waiting)))
	for _, ops := range [][]*Operation{left, waiting} {
		for _, o := range ops {
			key = fmt.Appendf(key, "%p", o)
		}
		key = append(key, '|')
	}
	key = fmt.Appendf(key, "%d", g.unseenMax)
	for _, been := range g.been[string(key)] {
		if been.Equal(s) {
			return true
		}
	}
	if g.been == nil {
		g.been = map[string][]*State{}
	}
	g.been[string(key)] = append(g.been[string(key)], s)
	return false
}

// unexplained returns the floats that a state does not explain, or that must follow a request
// without a place.
func (g *group) unexplained(s *State, left, waiting []*Operation) (still []*Operation) {
	bound := min(soonestReturn(left), g.bound)
	for _, f := range waiting {
		if f.Call <= bound {
			if _, _, ok := try(s, f, g.l.o.ClockSlack); ok {
				continue
			}
		}
		still = append(still, f)
	}
	return still
}

func soonestReturn(ops []*Operation) int64 {
	soonest := int64(Never)
	for _, o := range ops {
		soonest = min(soonest, o.Return)
	}
	return soonest
}

// unseen returns moves that change no revision and could explain some requests: requests whose
// outcome is unknown, and expiries of leases without keys.
func (l *linearizer) unseen(s *State, waiting []*Operation) (moves []move) {
	for _, o := range l.unknown {
		next, events, ok := try(s, o, l.o.ClockSlack)
		if ok && len(events) == 0 && next.Revision == s.Revision && !next.Equal(s) {
			moves = append(moves, move{op: o, after: next})
		}
	}
	tried := map[int64]bool{}
	for _, o := range waiting {
		for _, id := range leasesOf(&o.Request) {
			g, ok := s.leases.get(leaseName(id))
			if ok && !tried[id] && g.over(o.Return, l.o.ClockSlack) && len(s.attached(id)) == 0 {
				tried[id] = true
				next, _ := expireLease(s, id)
				moves = append(moves, move{after: next})
			}
		}
	}
	return moves
}

// leasesOf returns the leases that a request names.
func leasesOf(r *Request) (ids []int64) {
	switch {
	case r.Lease != nil:
		ids = append(ids, r.Lease.ID)
	case r.Put != nil && r.Put.Lease != 0:
		ids = append(ids, r.Put.Lease)
	case r.Txn != nil:
		for _, ops := range [][]Request{r.Txn.Then, r.Txn.Else} {
			for i := range ops {
				ids = append(ids, leasesOf(&ops[i])...)
			}
		}
	}
	return ids
}

// mover returns the goal of reaching a revision.
func (l *linearizer) mover(rev int64) func(s *State) (move, bool) {
	delivered, known := l.timeline[rev]
	delivered = byKey(delivered)
	fits := func(next *State, events []Event) bool {
		if !l.dirs[rev] {
			events = ofKeys(events)
		}
		return next.Revision == rev && (known || len(events) == 0) && slices.EqualFunc(byKey(events), delivered, sameEvent)
	}
	if w := l.writers[rev]; len(w) > 0 {
		return func(s *State) (move, bool) {
			next, events, ok := try(s, w[0], l.o.ClockSlack)
			return move{op: w[0], after: next, events: events}, ok && len(w) == 1
		}
	}
	bound := l.soonestLater(rev)
	return func(s *State) (move, bool) {
		for _, o := range l.unclear[rev] {
			if next, events, ok := try(s, o, l.o.ClockSlack); ok && next.Revision == rev {
				return move{op: o, after: next, events: events}, true
			}
		}
		for _, o := range l.unknown {
			if o.Call > bound {
				break // an earlier request is not placed yet
			}
			if next, events, ok := try(s, o, l.o.ClockSlack); ok && fits(next, events) {
				return move{op: o, after: next, events: events}, true
			}
		}
		return l.ended(s, fits)
	}
}

// soonestLater returns the earliest Return of the requests whose place is at a revision or later.
func (l *linearizer) soonestLater(rev int64) int64 {
	for _, o := range l.byReturn {
		if o.Response.Revision >= rev && !l.placed[o] {
			return o.Return
		}
	}
	return Never
}

// resolveUnclear declares the unclear requests at a revision reads, except for the writer, which
// made the revision.
func (l *linearizer) resolveUnclear(rev int64, writer *Operation) {
	for _, o := range l.unclear[rev] {
		if o != writer {
			l.readers[rev] = append(l.readers[rev], o)
		}
	}
	delete(l.unclear, rev)
}

// ended returns the lease or TTL whose expiry was the move to a revision: preferably one that can
// have expired by then.
func (l *linearizer) ended(s *State, fits func(*State, []Event) bool) (found move, ok bool) {
	by := l.sightedBy(s.Revision + 1)
	early := ""
	note := func(what string, t life, end func(s *State) (*State, []Event)) bool {
		next, events := end(s)
		if !fits(next, events) {
			return true
		}
		found, ok = move{after: next, events: events}, true
		if t.over(by, l.o.ClockSlack) {
			early = ""
			return false
		}
		early = fmt.Sprintf("%s ended before revision %d was seen at %d, %d ns after it was last begun; it was to live for %d ns",
			what, next.Revision, by, by-t.From, t.Length)
		return true
	}
	_ = s.leases.walk("", func(name string, g life) bool {
		return note("lease "+name, g, func(s *State) (*State, []Event) { return expireLease(s, leaseID(name)) })
	}) && s.keys.walk("", func(key string, r record) bool {
		if !r.TTL {
			return true
		}
		return note("key "+key, r.life, func(s *State) (*State, []Event) { return expireKey(s, r) })
	}) && s.dirs.walk("", func(path string, d directory) bool {
		if !d.TTL {
			return true
		}
		return note("directory "+path, d.life, func(s *State) (*State, []Event) { return expireDir(s, path) })
	})
	found.early = early
	return found, ok
}

// explain describes why a group could not be put in order.
func (l *linearizer) explain(g *group, rev int64, more bool) {
	if g.exhausted {
		l.res.add("undecided", "revision %d: no order was found in %d steps for %v", rev, searchMax, g.stuck)
		return
	}
	if len(g.stuck) > 0 {
		if _, _, ok := try(g.stuckOn, g.stuck[0], l.o.ClockSlack); ok && len(g.stuckFloats) > 0 {
			l.res.add("linearizable", "no state explains %v; the last that could was at revision %d", g.stuckFloats[0], rev)
			return
		}
		_, want, _ := Step(g.stuckOn, g.stuck[0].Request, g.stuck[0].Call, g.stuck[0].Return)
		l.res.add("linearizable", "revision %d does not explain %v: it would be answered %v", rev, g.stuck[0], want)
		return
	}
	if !more {
		return
	}
	w := l.writers[rev+1]
	if len(w) == 1 && len(g.stuckFloats) > 0 && g.stuckFloats[0].Return < w[0].Call {
		l.res.add("linearizable", "no state explains %v; the last that could was at revision %d", g.stuckFloats[0], rev)
		return
	}
	switch len(w) {
	case 0:
		l.res.add("linearizable", "no request made revision %d, for which watchers received %v", rev+1, l.timeline[rev+1])
	case 1:
		_, want, _ := Step(g.stuckOn, w[0].Request, w[0].Call, w[0].Return)
		l.res.add("linearizable", "%v is impossible after revision %d: the response would be %v", w[0], rev, want)
	default:
		l.res.add("linearizable", "revision %d was made twice: by %v and by %v", rev+1, w[0], w[1])
	}
}
