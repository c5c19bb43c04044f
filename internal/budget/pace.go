package budget

import "time"

// Pace is how fast a client sends a body, or takes a response: the bytes that have moved, and how
// long the server has waited for that. The zero Pace has not begun.
type Pace struct {
	waited time.Duration
	bytes  int64
}

// Add counts n bytes for which the server has waited.
func (p *Pace) Add(waited time.Duration, n int) {
	p.waited += waited
	p.bytes += int64(n)
}

// Limit returns how long to wait for the next bytes: no longer than standard, and less when the
// client falls behind leastRate, in bytes per second. 0 is for ever, when standard is.
func (p *Pace) Limit(standard time.Duration, leastRate int64) time.Duration {
	if standard == 0 {
		return 0
	}
	earned := standard + time.Duration(float64(p.bytes)/float64(leastRate)*float64(time.Second))
	return max(min(standard, earned-p.waited), time.Nanosecond)
}
