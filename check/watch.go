package check

import "slices"

// checkWatches compares the events that watchers received with the changes of the history:
//
//	ordered       revisions never decrease
//	unique        no event is delivered twice
//	reliable      no event is missing, up to the last delivered one
//	atomic        the events of a revision are delivered together
//	resumable     the watch begins at the revision that was requested
//	bookmarkable  a progress notification does not precede events of its revision
//	true          every delivered event is a change of the history
func checkWatches(h *History, res *Result) {
	last := int64(len(res.States))
	for i := range h.Watches {
		w := &h.Watches[i]
		c := watchCheck{w: w, res: res, last: last, next: w.Start}
		if w.Start <= 0 {
			c.next = w.Created + 1
		}
		for j := range w.Deliveries {
			if !c.delivery(&w.Deliveries[j]) {
				break
			}
		}
	}
}

// watchCheck goes through the deliveries of one watch. next is the first revision that was not
// delivered in full.
type watchCheck struct {
	w    *Watch
	res  *Result
	last int64 // the last revision that the history explains
	next int64
	// part has the events of revision next that a fragment has delivered.
	part []Event
}

func (c *watchCheck) bad(guarantee, format string, args ...any) bool {
	args = append([]any{c.w.Member, c.w.Client, keys(c.w.Key, c.w.End), c.w.Start}, args...)
	c.res.add(guarantee, "watch at %s by client %d of %s from %d: "+format, args...)
	return false
}

// wanted returns the events of a revision that the watch must receive.
func (c *watchCheck) wanted(rev int64) (events []Event) {
	if rev < 1 {
		return nil
	}
	for _, e := range c.res.Changes[rev-1] {
		if InRange(e.KV.Key, c.w.Key, c.w.End) && (!e.Dir || c.w.Dirs) && (!c.w.NoPut || e.Delete) && (!c.w.NoDel || !e.Delete) {
			events = append(events, e)
		}
	}
	return events
}

func (c *watchCheck) delivery(d *Delivery) bool {
	if d.Compacted != 0 {
		if c.next >= d.Compacted {
			return c.bad("watch-resumable", "ended by a compaction at %d, though its next revision is %d", d.Compacted, c.next)
		}
		return true
	}
	events := d.Events
	for len(events) > 0 {
		rev := events[0].KV.Mod
		n := 1
		for n < len(events) && events[n].KV.Mod == rev {
			n++
		}
		rest := d.Fragment && n == len(events)
		if !c.revision(rev, events[:n], rest) {
			return false
		}
		events = events[n:]
	}
	if d.Progress {
		return c.passTo(d.Revision+1, "watch-bookmarkable", "received a progress notification for revision %d", d.Revision)
	}
	return true
}

// passTo checks that nothing was left out before a revision.
func (c *watchCheck) passTo(rev int64, guarantee, format string, args ...any) bool {
	for ; c.next < rev; c.next++ {
		if c.next > c.last {
			return true
		}
		if left := c.wanted(c.next); len(left) > len(c.part) {
			return c.bad(guarantee, format+", but not of %v", append(args, left)...)
		}
		c.part = nil
	}
	return true
}

func (c *watchCheck) revision(rev int64, events []Event, more bool) bool {
	switch {
	case rev < c.next && c.w.Start > 0 && rev < c.w.Start:
		return c.bad("watch-resumable", "received revision %d", rev)
	case rev < c.next:
		return c.repeated(rev, events)
	case rev > c.last:
		c.next = rev + 1 // the history could not be explained up to there
		return true
	}
	if !c.passTo(rev, "watch-reliable", "received revision %d", rev) {
		return false
	}
	all := append(slices.Clone(c.part), events...)
	want := c.wanted(rev)
	for _, e := range all {
		i := slices.IndexFunc(want, func(o Event) bool { return sameEvent(o, e) })
		if i < 0 {
			return c.bad("watch-true", "received %v, but revision %d is %v", e, rev, c.res.Changes[rev-1])
		}
		if c.w.PrevKV && e.Prev != nil && (want[i].Prev == nil || *want[i].Prev != *e.Prev) {
			return c.bad("watch-true", "received that %v replaced %v, which was %v", e, *e.Prev, want[i].Prev)
		}
	}
	switch {
	case len(all) > len(want):
		return c.bad("watch-unique", "received an event of revision %d more than once: %v", rev, all)
	case more:
		c.part = all
		return true
	case len(all) < len(want):
		return c.bad("watch-atomic", "received revision %d as %v, without the rest of %v in the same response", rev, all, want)
	}
	c.part, c.next = nil, rev+1
	return true
}

// repeated returns the violation when a revision is delivered that was complete before.
func (c *watchCheck) repeated(rev int64, events []Event) bool {
	if c.count(events[0]) > 1 {
		return c.bad("watch-unique", "received again %v", events[0])
	}
	return c.bad("watch-ordered", "received revision %d after revision %d", rev, c.next-1)
}

func (c *watchCheck) count(e Event) (n int) {
	for i := range c.w.Deliveries {
		for _, o := range c.w.Deliveries[i].Events {
			if sameEvent(e, o) {
				n++
			}
		}
	}
	return n
}
