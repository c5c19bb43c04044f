package sim

import "slices"

// Minimise returns a smaller case that fails, too, found in at most runs runs: with fewer faults
// and fewer requests. The case must fail.
func Minimise(c Case, runs int) (Case, *Outcome) {
	m := minimiser{best: c, runs: runs}
	m.out = Run(c)
	faults := len(m.out.Faults)
	for size := max(1, faults/2); ; size /= 2 {
		m.dropFaults(faults, size)
		if size <= 1 {
			break
		}
	}
	m.dropRequests()
	m.dropFaults(faults, 1)
	return m.best, m.out
}

// minimiser has the smallest failing case so far.
type minimiser struct {
	best Case
	out  *Outcome
	runs int
}

// try runs a case and keeps it if it fails.
func (m *minimiser) try(c Case) bool {
	if m.runs--; m.runs < 0 {
		return false
	}
	out := Run(c)
	if out.Err == nil {
		return false
	}
	m.best, m.out = c, out
	return true
}

// dropFaults leaves out faults, n at a time.
func (m *minimiser) dropFaults(faults, size int) {
	for at := 0; at < faults; at += size {
		c := m.best
		c.Without = slices.Clone(c.Without)
		for i := at; i < min(at+size, faults); i++ {
			if !slices.Contains(c.Without, i) {
				c.Without = append(c.Without, i)
			}
		}
		if len(c.Without) > len(m.best.Without) {
			slices.Sort(c.Without)
			m.try(c)
		}
	}
}

// dropRequests searches for a small number of requests that still fails.
func (m *minimiser) dropRequests() {
	low, high := 0, m.out.Stats.Requests
	for high-low > 5 && m.runs > 0 {
		c := m.best
		c.Operations = (low + high) / 2
		if m.try(c) {
			high = c.Operations
		} else {
			low = (low + high) / 2
		}
	}
}
