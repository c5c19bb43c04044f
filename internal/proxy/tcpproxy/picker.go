package tcpproxy

import (
	"math/rand/v2"
	"sync"
)

// remote is an endpoint and its state.
type remote struct {
	Endpoint
	down bool // guarded by picker.mu
}

// picker chooses endpoints by the rules of RFC 2782 for SRV records.
type picker struct {
	random func(n int) int
	all    []*remote

	mu   sync.Mutex
	next int // for endpoints without weights, which are used in turn
}

func newPicker(endpoints []Endpoint, random func(int) int) *picker {
	if random == nil {
		random = rand.IntN
	}
	p := &picker{random: random}
	for _, e := range endpoints {
		p.all = append(p.all, &remote{Endpoint: e})
	}
	return p
}

// pick returns the endpoint to try next, or nil when all have been tried. Endpoints that are down
// come last, the lowest priority number first.
func (p *picker) pick(tried map[*remote]bool) *remote {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, down := range []bool{false, true} {
		if best := p.best(tried, down); len(best) > 0 {
			return p.among(best)
		}
	}
	return nil
}

// best returns the endpoints of the lowest priority number among the ones that are up, or down, and
// have not been tried.
func (p *picker) best(tried map[*remote]bool, down bool) (best []*remote) {
	for _, r := range p.all {
		switch {
		case r.down != down || tried[r]:
		case len(best) == 0 || r.Priority < best[0].Priority:
			best = append(best[:0], r)
		case r.Priority == best[0].Priority:
			best = append(best, r)
		}
	}
	return best
}

// among chooses by weight. An endpoint without a weight gets a small share if others have one, so
// that it is used at all.
func (p *picker) among(rs []*remote) *remote {
	sum := 0
	for _, r := range rs {
		sum += int(r.Weight)
	}
	if sum == 0 {
		p.next++
		return rs[(p.next-1)%len(rs)]
	}
	const scale = 100 // a weight of 0 counts as a hundredth of a weight of 1
	share := func(r *remote) int { return max(scale*int(r.Weight), 1) }
	total := 0
	for _, r := range rs {
		total += share(r)
	}
	n := p.random(total)
	for _, r := range rs {
		if n -= share(r); n < 0 {
			return r
		}
	}
	return rs[len(rs)-1]
}

// setDown records whether an endpoint is down, and reports whether that changed.
func (p *picker) setDown(r *remote, down bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, r.down = r.down != down, down
	return changed
}

// downs returns the endpoints that are down.
func (p *picker) downs() (rs []*remote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.all {
		if r.down {
			rs = append(rs, r)
		}
	}
	return rs
}
