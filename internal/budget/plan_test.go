package budget

import "testing"

// The parts fit into what the collector keeps the heap within: everything that is always in use,
// and what requests and clients may take at the same time.
func TestPlan(t *testing.T) {
	for _, limit := range []int64{256 << 20, 300 << 20, 512 << 20, 1 << 30, 2 << 30, 64 << 30} {
		p := PlanFor(limit)
		stores := p.StateCache + p.LogCache + 4*p.StateMemTable + 2*p.LogMemTable + p.Recent
		queues := p.Entries + p.Requests + p.Batch + 2*p.Events
		if sum := stores + queues + p.Clients; sum > p.Collector {
			t.Errorf("limit %d MiB: the parts take %d of %d MiB", limit>>20, sum>>20, p.Collector>>20)
		}
	}
	if p := PlanFor(0); p.Clients != 0 || p.StateCache != PlanFor(64<<30).StateCache {
		t.Errorf("without a limit: %+v", p)
	}
}
