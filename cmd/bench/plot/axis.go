package plot

import (
	"math"
	"strconv"
)

// bounds returns the ends of the vertical axis: from 0, or from and to a tick of a logarithmic one.
func (c Chart) bounds() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, s := range c.Series {
		for _, p := range s.Points {
			if math.IsNaN(p.Y) || (c.Log && p.Y <= 0) {
				continue
			}
			low, high = min(low, p.Y), max(high, p.Y)
		}
	}
	switch {
	case high == 0: // no value
		return 1, 10
	case !c.Log:
		return 0, high * 1.05
	}
	low = math.Pow(10, math.Floor(math.Log10(low)))
	for _, m := range []float64{1, 2, 5, 10} {
		top := m * math.Pow(10, math.Floor(math.Log10(high)))
		if top >= high*(1-1e-9) && top > low {
			return low, top
		}
	}
	return low, low * 10
}

// linearTicks returns multiples of 1, 2 or 5 times a power of ten, of which about n lie between low
// and high.
func linearTicks(low, high float64, n int) (ticks []float64) {
	rough := (high - low) / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := power * 10
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough {
			step = m * power
			break
		}
	}
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// logTicks returns 1, 2 and 5 times the powers of ten from low to high, or only those powers where
// there are many.
func logTicks(low, high float64) (ticks []float64) {
	multiples := []float64{1, 2, 5}
	if high/low > 1000 {
		multiples = multiples[:1]
	}
	for power := low; power <= high*(1+1e-9); power *= 10 {
		for _, m := range multiples {
			if m*power <= high*(1+1e-9) {
				ticks = append(ticks, m*power)
			}
		}
	}
	return ticks
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
