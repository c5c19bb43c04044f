package sim

import (
	"fmt"
	mrand "math/rand/v2"
	"sort"
)

// faultsUntil is the maximum time at which faults and requests end.
const faultsUntil = 25 * second

// fault is one temporary fault. Its parameters are drawn with the plan, so that they do not depend
// on which other faults are left out.
type fault struct {
	kind     faultKind
	at, last int64
	// member is an index in the list of members; with leader set, the fault hits the leader at that
	// time.
	member int
	leader bool
	number int // its meaning depends on the kind
}

type faultKind int

const (
	faultCrash     faultKind = iota // power failure, at any time
	faultCrashSync                  // power failure at a sync of the log: number is the cut
	faultCrashAll                   // power failure of all members at once
	faultPause                      // the process is stopped for a time
	faultIsolate                    // messages to and from the member are lost
	faultOneWay                     // messages to the member are lost, or those from it
	// partition in two sides: each bit of number is the side of a member
	faultSplit
	faultLoss    // number percent of all messages are lost
	faultTwice   // number percent of all messages are delivered twice
	faultSlow    // all messages are delayed
	faultStall   // the log's disk hangs
	faultFull    // the log's disk is full
	faultRestart // proper restart
	faultMove    // leadership is transferred
	faultKinds
	// the machine is suspended for a time: the process is stopped, and its clock stands still. It
	// is drawn by drawSuspensions.
	faultSuspend = faultKinds
)

func (f fault) String() string {
	name := []string{
		"power cut", "power cut at a sync", "power cut everywhere", "pause", "isolation", "one-way isolation", "partition", "loss", "duplicates",
		"slow network", "stalled disk", "full disk", "restart", "hand-over", "suspension",
	}[f.kind]
	who := fmt.Sprintf("member %d", f.member)
	if f.leader {
		who = "the leader"
	}
	return fmt.Sprintf("%s (%s, %d) from %.3f s for %.3f s", name, who, f.number, float64(f.at)/1e9, float64(f.last)/1e9)
}

// drawPlan draws the faults of a run.
func drawPlan(rng *mrand.Rand, members int) []fault {
	plan := make([]fault, 3+rng.IntN(10))
	for i := range plan {
		f := fault{
			kind: faultKind(rng.IntN(int(faultKinds))), at: rng.Int64N(faultsUntil * 8 / 10), last: second/5 + rng.Int64N(4*second),
			member: rng.IntN(members), leader: rng.IntN(2) == 0,
		}
		switch f.kind {
		case faultCrashSync:
			f.number = rng.IntN(4)
		case faultLoss, faultTwice:
			f.number = 5 + rng.IntN(30)
		case faultSplit:
			f.number = rng.IntN(1 << members)
		default:
			f.number = rng.IntN(2)
		}
		plan[i] = f
	}
	sort.SliceStable(plan, func(i, j int) bool { return plan[i].at < plan[j].at })
	return plan
}

// drawSuspensions draws faults that were added later, from a separate stream of random numbers: the
// other faults of a seed, and their numbers, stay what they were.
func drawSuspensions(rng *mrand.Rand, members int) (plan []fault) {
	if rng.IntN(100) >= 40 {
		return nil
	}
	for range 1 + rng.IntN(3) {
		plan = append(plan, fault{
			kind: faultSuspend, at: rng.Int64N(faultsUntil * 8 / 10), last: second/5 + rng.Int64N(4*second),
			member: rng.IntN(members), leader: rng.IntN(2) == 0,
		})
	}
	return plan
}

// schedule queues a fault at its time.
func (w *world) schedule(f *fault) {
	w.after(f.at, func() {
		if w.quiet {
			return
		}
		w.note("", "%v", *f)
		undo := w.strike(f)
		if undo != nil {
			w.after(f.last, undo)
		}
	})
}

// target returns the member that a fault hits.
func (w *world) target(f *fault) *member {
	if f.leader {
		for _, m := range w.members {
			if m.up && m.r.Leads() {
				return m
			}
		}
	}
	return w.members[f.member%len(w.members)]
}

// strike begins a fault, and returns the function that ends it.
func (w *world) strike(f *fault) (undo func()) {
	m := w.target(f)
	switch f.kind {
	case faultCrash:
		m.powerCut()
		return m.start
	case faultCrashSync:
		if m.up {
			how := cut(f.number)
			m.cut = &how
		}
		return m.start
	case faultCrashAll:
		for _, m := range w.members {
			m.powerCut()
		}
		return func() {
			for _, m := range w.members {
				m.start()
			}
		}
	case faultRestart:
		if m.up {
			m.w.note(m.name, "restarts")
			if !m.disk.full && m.syncLog() && m.flush() {
				m.crash(m.disk.crash(all, ""))
			}
		}
		return m.start
	case faultMove:
		w.moveLeader(f)
	case faultPause:
		m.pausedUntil = w.now + f.last
	case faultSuspend:
		m.suspend(f.last)
	case faultStall:
		m.stalledUntil = w.now + f.last
	case faultFull:
		m.disk.full = true
		d := m.disk
		return func() {
			d.full = false
			m.disk.full = false
			m.start()
		}
	case faultLoss:
		w.net.loss += f.number
		return func() { w.net.loss -= f.number }
	case faultTwice:
		w.net.twice += f.number
		return func() { w.net.twice -= f.number }
	case faultSlow:
		w.net.slow += 400 * millisecond
		return func() { w.net.slow -= 400 * millisecond }
	default:
		return w.cutLinks(f, m)
	}
	return nil
}

// suspend stops the member and its clock for a time, or until the faults end.
func (m *member) suspend(span int64) {
	m.wake() // from an earlier suspension
	m.pausedUntil, m.suspendedAt = max(m.pausedUntil, m.w.now+span+1), m.w.now
	life := m.life
	m.w.after(span, func() {
		if m.life == life {
			m.wake()
		}
	})
}

// wake ends a suspension: the clock continues where it stood.
func (m *member) wake() {
	if m.suspendedAt != 0 {
		m.offset -= m.w.now - m.suspendedAt
		m.suspendedAt = 0
	}
}

// cutLinks begins a partition.
func (w *world) cutLinks(f *fault, m *member) (undo func()) {
	var cut []link
	for _, a := range w.members {
		for _, b := range w.members {
			l := link{a.id, b.id}
			switch {
			case a == b:
			case f.kind == faultIsolate && (a == m || b == m),
				f.kind == faultOneWay && f.number == 0 && a == m,
				f.kind == faultOneWay && f.number == 1 && b == m,
				f.kind == faultSplit && side(f, a) != side(f, b):
				cut = append(cut, l)
				w.net.cuts[l]++
			}
		}
	}
	return func() {
		for _, l := range cut {
			w.net.cuts[l]--
		}
	}
}

func side(f *fault, m *member) int { return f.number >> ((m.id - 1) % 16) & 1 }

// restartLater restarts a member that has failed.
func (m *member) restartLater() {
	m.w.after(m.w.between(10*millisecond, 2*second), m.start)
}
