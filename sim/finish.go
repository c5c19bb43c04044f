package sim

import (
	"strings"

	"cairn/check"
)

// peaceFor is how long a run continues after the cluster has become available: longer than any TTL.
const peaceFor = 8 * second

// makePeace ends all faults.
func (w *world) makePeace() {
	w.quiet = true
	w.note("", "peace")
	w.net.loss, w.net.twice, w.net.slow = 0, 0, 0
	clear(w.net.cuts)
	for _, m := range w.members {
		m.disk.full, m.cut = false, nil
		m.wake()
		m.pausedUntil, m.stalledUntil = min(m.pausedUntil, w.now), min(m.stalledUntil, w.now)
		m.start()
	}
	// A later end of a fault makes the counts negative, which has no effect: only positive counts
	// matter.
}

// awaitAvailable sends writes and reads to every member until all have succeeded, which has to be
// soon.
func (w *world) awaitAvailable() {
	if w.err != nil {
		return
	}
	from := w.now
	waiting := 0
	for i, m := range w.members {
		c := &client{w: w, id: 900 + i, name: "probe", rng: w.rng, member: i}
		if len(w.clients) > 0 {
			c.user = w.clients[0].user
		}
		waiting++
		w.probe(c, m, []check.Request{
			{Put: &check.Put{Key: "probe", Value: "p" + c.value()}}, {Range: &check.Range{Key: "probe"}},
		}, func() { waiting-- })
	}
	w.runUntil(from+availableTicks*tick, func() bool { return waiting == 0 })
	if waiting > 0 {
		w.fail("availability: %d members do not serve %d ticks after the last fault", waiting, availableTicks)
	}
	w.stats.Ticks = (w.now - from) / tick
	w.stableSince = w.now
	w.note("", "available after %d ticks", w.stats.Ticks)
}

// probe sends requests one after the other until one succeeds.
func (w *world) probe(c *client, m *member, requests []check.Request, done func()) {
	if len(requests) == 0 || w.foremost() != nil && !w.belongs(m) {
		done()
		return
	}
	r := requests[0]
	r.User = c.user
	if r.Put != nil {
		r.Put = &check.Put{Key: r.Put.Key, Value: r.Put.Value + "." + c.value()}
	}
	if !m.up {
		w.after(tick, func() { w.probe(c, m, requests, done) })
		return
	}
	c.ask(m, r, func(resp *check.Response, known bool) {
		if known && resp.Err == "" {
			requests = requests[1:]
		}
		w.after(tick, func() { w.probe(c, m, requests, done) })
	})
}

// finish makes the last reads, compares the members, and checks the history.
func (w *world) finish() {
	if w.err != nil {
		return
	}
	for i, m := range w.members {
		c := &client{w: w, id: 950 + i, name: "probe", rng: w.rng, member: i}
		if len(w.clients) > 0 {
			c.user = w.clients[0].user
		}
		w.probe(c, m, []check.Request{{Range: &check.Range{Key: "\x00", End: "\x00"}}}, func() {})
	}
	w.runUntil(w.now+3*second, never)
	w.compareAll()
	if w.err == nil {
		w.judge()
	}
}

// compareAll compares the states of all members, which must be idle.
func (w *world) compareAll() {
	last := uint64(0)
	for _, m := range w.members {
		if !m.up || !w.belongs(m) {
			continue
		}
		index := m.machine.AppliedIndex()
		if last != 0 && index != last {
			continue // an entry with the leader's time is in progress
		}
		last = index
		m.compareHashNow(index)
	}
}

// clockSlack is the maximum difference of the length of a TTL between members: their clocks, and
// the interval between two checks of deadlines.
const clockSlack = 20 * millisecond

// leaseGrace is how late something may expire.
const leaseGrace = 2 * second

func (w *world) judge() {
	res := check.Check(w.h, check.Options{ClockSlack: clockSlack, StableSince: w.stableSince, LeaseGrace: leaseGrace})
	w.stats.Revisions = len(res.States)
	if len(res.Violations) == 0 {
		return
	}
	var all []string
	for i, v := range res.Violations {
		if i == 5 {
			all = append(all, "…")
			break
		}
		all = append(all, v.String())
	}
	w.fail("%s", strings.Join(all, "\n"))
}
