package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"cairn/internal/budget"
)

// planMemory divides limit, or what the cgroup or the machine has when limit is 0, among the parts
// of the member, and makes the collector keep the process within it. Limits in the variables
// GOMEMLIMIT and GOGC stay.
func planMemory(limit int64, log *slog.Logger) budget.Plan {
	if limit == 0 {
		limit = budget.Machine()
	}
	plan := budget.PlanFor(limit)
	if limit == 0 {
		log.Warn("cannot determine the amount of memory; set --memory-limit")
	} else if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(plan.Collector)
	}
	if os.Getenv("GOGC") == "" {
		go paceCollector(spareOf(limit))
	}
	return plan
}

// clientBudget returns the budget for what clients make the member hold, nil if no limit is known.
func clientBudget(plan budget.Plan) *budget.Budget {
	if plan.Clients == 0 {
		return nil
	}
	return budget.New(plan.Clients)
}

const (
	// pacePeriod is how often the pace of the collector is set.
	pacePeriod = 500 * time.Millisecond
	// headroomMin is the least by which the heap may grow between two collections.
	headroomMin = 24 << 20
	// Above collectionsMax in a period the headroom grows by half, up to what is live; up to
	// collectionsMin it shrinks by an eighth.
	collectionsMax = 3
	collectionsMin = 1
	// Within spareMax the headroom grows earlier and shrinks later, because a collection costs a
	// small heap little, and the requests in it some milliseconds each: it grows above recentMax
	// collections in recentPeriods, and shrinks after none.
	spareMax      = 48 << 20
	recentPeriods = 4
	recentMax     = 2
)

// spareOf returns the headroom that a process with so much memory may always have, beyond the bytes
// to scan; limit 0 means unknown.
func spareOf(limit int64) uint64 {
	if limit <= 0 {
		return spareMax
	}
	return min(spareMax, uint64(limit)/16)
}

// paceCollector lets the heap grow, between two collections, by as much as the collector has to
// scan. By default it grows by as much as is live; but most of that are memtables and caches, which
// cost a collection nothing. It never returns.
func paceCollector(spare uint64) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	set, pace, cycles := collectorPercentDefault, collectorPace{spare: spare}, uint64(0)
	for range time.Tick(pacePeriod) {
		metrics.Read(samples)
		for _, s := range samples {
			if s.Value.Kind() != metrics.KindUint64 {
				return // a version of Go without these metrics keeps its default
			}
		}
		total := samples[2].Value.Uint64()
		percent := pace.percent(samples[0].Value.Uint64(), samples[1].Value.Uint64(), total-cycles)
		cycles = total
		if difference := percent - set; difference > set/10 || difference < -set/10 {
			debug.SetGCPercent(percent)
			set = percent
		}
	}
}

// The bounds of GOGC, and Go's default.
const (
	collectorPercentMin     = 10
	collectorPercentMax     = 800
	collectorPercentDefault = 100
)

// collectorPace sets the pace of the collector.
type collectorPace struct {
	spare uint64 // see spareOf
	// headroom beyond the bytes to scan, while collections are frequent
	extra  uint64
	recent [recentPeriods]uint64 // collections in the last periods, the latest first
}

// percent returns the value of GOGC for a heap with so many live bytes, of which some have to be
// scanned, after a period with so many collections.
func (p *collectorPace) percent(live, scanned, collections uint64) int {
	copy(p.recent[1:], p.recent[:])
	p.recent[0] = collections
	recent := uint64(0)
	for _, n := range p.recent {
		recent += n
	}
	more := p.extra + max(headroomMin, p.extra)/2
	switch {
	case collections > collectionsMax:
		p.extra = min(max(live, p.spare), more)
	case recent > recentMax && p.extra < p.spare:
		p.extra = min(p.spare, more)
	case recent == 0 || collections <= collectionsMin && p.extra > p.spare:
		p.extra -= (p.extra + 7) / 8
	}
	headroom := max(headroomMin, scanned) + p.extra
	return int(min(collectorPercentMax, max(collectorPercentMin, 100*headroom/max(live, 1))))
}
