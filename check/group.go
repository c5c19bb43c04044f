package check

import (
	"slices"
)

// searchMax bounds the search for the order of one group.
const searchMax = 20_000

// move is one thing that happened: a request that was carried out, or the end of a lease or TTL (op is nil).
type move struct {
	op     *Operation
	after  *State
	events []Event
}

// group is the search for the order of the requests of one revision.
type group struct {
	l      *linearizer
	budget int
	// goal is what has to be possible in the end.
	goal func(s *State) (move, bool)
	// stuck is where the search got furthest.
	stuck     []*Operation
	stuckOn   *State
	exhausted bool
}

// solve returns moves that place all of left and reach the goal.
func (g *group) solve(s *State, left []*Operation, path []move) ([]move, bool) {
	if g.budget--; g.budget < 0 {
		g.exhausted = true
		return nil, false
	}
	// What only reads, and is explained, may come at once: it makes nothing else impossible.
	for again := true; again; {
		again = false
		soonest := soonestReturn(left)
		for i, o := range left {
			if o.Call > soonest || !readOnly(&o.Request) && o.Response.Err == "" {
				continue
			}
			if _, _, ok := try(s, o); ok {
				path = append(slices.Clip(path), move{op: o, after: s})
				left = slices.Delete(slices.Clone(left), i, i+1)
				again = true
				break
			}
		}
	}
	if len(left) == 0 {
		if m, ok := g.goal(s); ok {
			if m.op == nil && m.after == s {
				return path, true
			}
			return append(slices.Clip(path), m), true
		}
	}
	if g.stuckOn == nil || len(left) < len(g.stuck) {
		g.stuck, g.stuckOn = left, s
	}
	soonest := soonestReturn(left)
	for i, o := range left {
		if o.Call > soonest {
			continue
		}
		next, events, ok := try(s, o)
		if !ok || next.Revision != s.Revision || len(events) > 0 {
			continue
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		if done, ok := g.solve(next, rest, append(slices.Clip(path), move{op: o, after: next})); ok {
			return done, true
		}
	}
	for _, m := range g.l.unseen(s, left) {
		if m.op != nil && (m.op.Call > soonest || slices.ContainsFunc(path, func(p move) bool { return p.op == m.op })) {
			continue
		}
		if done, ok := g.solve(m.after, left, append(slices.Clip(path), m)); ok {
			return done, true
		}
	}
	return nil, false
}

func soonestReturn(ops []*Operation) int64 {
	soonest := int64(Never)
	for _, o := range ops {
		soonest = min(soonest, o.Return)
	}
	return soonest
}

// unseen returns what may have happened without a trace in the revisions: requests of unknown outcome, and ends of leases
// without keys. Only what the requests that wait could be affected by matters: when none do, the next revision does.
func (l *linearizer) unseen(s *State, waiting []*Operation) (moves []move) {
	for _, o := range l.unknown {
		next, events, ok := try(s, o)
		if ok && len(events) == 0 && next.Revision == s.Revision && !next.Equal(s) {
			moves = append(moves, move{op: o, after: next})
		}
	}
	latest := int64(0) // when it can have happened at the latest
	for _, o := range waiting {
		latest = max(latest, o.Return)
	}
	if len(waiting) == 0 {
		latest = l.sightedBy(s.Revision + 1)
	}
	s.leases.walk("", func(name string, g life) bool {
		if g.over(latest, l.o.ClockSlack) {
			id := leaseID(name)
			if len(s.attached(id)) == 0 {
				next, _ := expireLease(s, id)
				moves = append(moves, move{after: next})
			}
		}
		return true
	})
	return moves
}

// mover returns the goal of reaching a revision.
func (l *linearizer) mover(rev int64) func(s *State) (move, bool) {
	told, known := l.timeline[rev]
	told = byKey(told)
	fits := func(next *State, events []Event) bool {
		return next.Revision == rev && (!known && len(events) == 0 || known && slices.EqualFunc(byKey(events), told, sameEvent))
	}
	if w := l.writers[rev]; len(w) > 0 {
		l.settleUnclear(rev, nil)
		return func(s *State) (move, bool) {
			next, events, ok := try(s, w[0])
			return move{w[0], next, events}, ok && len(w) == 1
		}
	}
	return func(s *State) (move, bool) {
		for _, o := range l.unclear[rev] {
			if next, events, ok := try(s, o); ok && next.Revision == rev {
				l.settleUnclear(rev, o)
				return move{o, next, events}, true
			}
		}
		for _, o := range l.unknown {
			if next, events, ok := try(s, o); ok && fits(next, events) {
				l.settleUnclear(rev, nil)
				return move{o, next, events}, true
			}
		}
		m, ok := l.ended(s, fits)
		if ok {
			l.settleUnclear(rev, nil)
		}
		return m, ok
	}
}

// settleUnclear makes readers of those that might have moved to a revision, but for the one that did.
func (l *linearizer) settleUnclear(rev int64, writer *Operation) {
	for _, o := range l.unclear[rev] {
		if o != writer {
			l.readers[rev] = append(l.readers[rev], o)
		}
	}
	delete(l.unclear, rev)
}

// ended finds the lease or TTL whose end was the move to a revision.
func (l *linearizer) ended(s *State, fits func(*State, []Event) bool) (found move, ok bool) {
	by := l.sightedBy(s.Revision + 1)
	note := func(what string, t life, next *State, events []Event) bool {
		if !fits(next, events) {
			return true
		}
		if found, ok = (move{after: next, events: events}), true; !t.over(by, l.o.ClockSlack) {
			l.res.add("lease-early", "%s ended before revision %d was seen at %d, %d ns after it was last begun; it was to live for %d ns",
				what, next.Revision, by, by-t.From, t.Length)
		}
		return false
	}
	s.leases.walk("", func(name string, g life) bool {
		next, events := expireLease(s, leaseID(name))
		return note("lease "+name, g, next, events)
	})
	if ok {
		return found, ok
	}
	s.keys.walk("", func(key string, r record) bool {
		if !r.TTL {
			return true
		}
		next, events := expireKey(s, r)
		return note("key "+key, r.life, next, events)
	})
	if ok {
		return found, ok
	}
	s.dirs.walk("", func(path string, d directory) bool {
		if !d.TTL {
			return true
		}
		next, events := expireDir(s, path)
		return note("directory "+path, d.life, next, events)
	})
	return found, ok
}

// explain says why a group could not be put in order.
func (l *linearizer) explain(g *group, rev int64, more bool) {
	if g.exhausted {
		l.res.add("undecided", "revision %d: no order was found in %d steps for %v", rev, searchMax, g.stuck)
		return
	}
	if len(g.stuck) > 0 {
		_, want, _ := Step(g.stuckOn, g.stuck[0].Request, g.stuck[0].Call, g.stuck[0].Return)
		l.res.add("linearizable", "revision %d does not explain %v: it would be answered %v", rev, g.stuck[0], want)
		return
	}
	if !more {
		return
	}
	w := l.writers[rev+1]
	switch len(w) {
	case 0:
		l.res.add("linearizable", "nobody has made revision %d, of which watchers were told %v", rev+1, l.timeline[rev+1])
	case 1:
		_, want, _ := Step(g.stuckOn, w[0].Request, w[0].Call, w[0].Return)
		l.res.add("linearizable", "%v is not what revision %d leads to: it would be answered %v", w[0], rev, want)
	default:
		l.res.add("linearizable", "revision %d was made twice: by %v and by %v", rev+1, w[0], w[1])
	}
}
