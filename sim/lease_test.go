package sim

import (
	"testing"

	"cairn/check"
)

// endsAfter grants a lease, renews it in memory, stops its leader, and returns how long after the
// next leader's election its key still exists.
func endsAfter(t *testing.T, planted bug) (span int64) {
	t.Helper()
	const ttl = 6
	play(t, 3, func(s *script) {
		s.bug = planted
		lead := s.leader()
		s.must(lead, check.Request{Lease: &check.Lease{Do: check.Grant, ID: 7, TTL: ttl}})
		s.must(lead, check.Request{Put: &check.Put{Key: "leased", Value: "v", Lease: 7}})
		for range 3 {
			s.pass(second / 2)
			s.must(lead, check.Request{Lease: &check.Lease{Do: check.Renew, ID: 7}})
		}
		if s.stats.InMemory == 0 {
			t.Fatal("no renewal was made in memory")
		}
		lead.powerCut()
		next := s.leader()
		from := s.now
		for s.now-from < 4*ttl*second && len(s.must(next, getOf("leased")).Range.KVs) > 0 {
			s.pass(second / 4)
		}
		span = s.now - from
		s.bug = noBug
	})
	return span
}

// TestExtendedLeaseEnds: the deadline of a lease that is renewed in memory is ahead of its promise,
// but the next leader ends the lease one TTL after its election at the latest.
func TestExtendedLeaseEnds(t *testing.T) {
	const ttl, grace = 6 * second, second
	if span := endsAfter(t, noBug); span < ttl-2*second || span > ttl+grace {
		t.Errorf("it ended %d ms after the election", span/millisecond)
	}
	if span := endsAfter(t, bugFarDeadlines); span <= ttl+grace {
		t.Errorf("without the limit it ended %d ms after the election: the test would not notice", span/millisecond)
	}
}
