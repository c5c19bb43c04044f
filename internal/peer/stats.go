package peer

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats has counts and measurements of the traffic with one peer since it became one.
type Stats struct {
	ID          uint64
	Active      bool      // the control lane to it is connected
	ActiveSince time.Time // or the zero time

	SentMessages, SentBytes         uint64
	ReceivedMessages, ReceivedBytes uint64
	// messages above the limits, without a connection, or being written when it broke
	Dropped  uint64
	Failures uint64 // connections that could not be opened, or broke

	SnapshotsSent, SnapshotsFailed, SnapshotsReceived uint64

	RoundTrip Latency // of pings on the control lane
}

// Latency summarizes measurements.
type Latency struct {
	Count                           uint64
	Last, Average, StdDev, Min, Max time.Duration
}

// counters has the numbers of Stats.
type counters struct {
	sentMessages, sentBytes, receivedMessages, receivedBytes atomic.Uint64
	dropped, failures                                        atomic.Uint64
	snapshotsSent, snapshotsFailed, snapshotsReceived        atomic.Uint64

	roundTrip latency
}

// latency accumulates measurements by Welford's method, which avoids the rounding errors of a sum
// of squares.
type latency struct {
	mu             sync.Mutex
	n              uint64
	last, min, max time.Duration
	mean, m2       float64
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == 0 || d < l.min {
		l.min = d
	}
	l.max, l.last = max(l.max, d), d
	l.n++
	delta := float64(d) - l.mean
	l.mean += delta / float64(l.n)
	l.m2 += delta * (float64(d) - l.mean)
}

func (l *latency) sum() Latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Latency{Count: l.n, Last: l.last, Min: l.min, Max: l.max, Average: time.Duration(l.mean)}
	if l.n > 0 {
		s.StdDev = time.Duration(math.Sqrt(l.m2 / float64(l.n)))
	}
	return s
}

// Stats returns the statistics of all current peers, sorted by ID.
func (t *Transport) Stats() []Stats {
	peers := *t.peers.Load()
	all := make([]Stats, 0, len(peers))
	for _, p := range peers {
		all = append(all, p.stats())
	}
	slices.SortFunc(all, func(a, b Stats) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

func (p *peer) stats() Stats {
	since := p.activeSince()
	c := &p.counters
	return Stats{
		ID: p.id, Active: !since.IsZero(), ActiveSince: since,
		SentMessages: c.sentMessages.Load(), SentBytes: c.sentBytes.Load(),
		ReceivedMessages: c.receivedMessages.Load(), ReceivedBytes: c.receivedBytes.Load(),
		Dropped: c.dropped.Load(), Failures: c.failures.Load(),
		SnapshotsSent: c.snapshotsSent.Load(), SnapshotsFailed: c.snapshotsFailed.Load(), SnapshotsReceived: c.snapshotsReceived.Load(),
		RoundTrip: c.roundTrip.sum(),
	}
}

// ActiveSince returns the time since when the control lane to a peer is connected; the zero time
// when it is not, or when there is no such peer.
func (t *Transport) ActiveSince(id uint64) time.Time {
	if p := (*t.peers.Load())[id]; p != nil {
		return p.activeSince()
	}
	return time.Time{}
}
