package timeline

import (
	"time"

	"cairn/cmd/bench/histogram"
)

// Phase has the figures of a phase. Windows are of equal length, except for the last one.
type Phase struct {
	Name    string   `json:"name"`
	Whole   Window   `json:"whole"`
	Windows []Window `json:"windows"`
}

// Window has the figures of an interval.
type Window struct {
	Start   float64 `json:"start_seconds"` // since the run's start
	Seconds float64 `json:"seconds"`
	Work    uint64  `json:"operations"`
	Puts    uint64  `json:"puts"`
	P50     float64 `json:"put_p50_microseconds"`
	P99     float64 `json:"put_p99_microseconds"`
	Max     float64 `json:"put_max_microseconds"`
}

// Rate returns the operations per second.
func (w Window) Rate() float64 {
	if w.Seconds <= 0 {
		return 0
	}
	return float64(w.Work) / w.Seconds
}

// cut returns the figures of a phase in at most n windows: n slots or fewer have a window each.
func (p *phase) cut(start time.Time, n int) Phase {
	length := p.end.Sub(p.start)
	slots := max(len(p.slots), 1)
	if length > 0 { // without what may have completed in the slot after the end
		slots = min(slots, int((length+p.width-1)/p.width))
	}
	result := Phase{Name: p.name, Whole: p.window(start, 0, len(p.slots), p.end)}
	n = min(n, slots)
	for i := range n {
		last := (i + 1) * slots / n
		if i == n-1 {
			last = max(last, len(p.slots))
		}
		result.Windows = append(result.Windows, p.window(start, i*slots/n, last, p.end))
	}
	return result
}

// window sums the slots from first up to last. The last slot of a phase is only as long as the
// phase lasted in it.
func (p *phase) window(start time.Time, first, last int, end time.Time) Window {
	from, to := p.start.Add(time.Duration(first)*p.width), p.start.Add(time.Duration(last)*p.width)
	if last >= len(p.slots) {
		to = end
	}
	w := Window{Start: from.Sub(start).Seconds(), Seconds: max(0, to.Sub(from).Seconds())}
	var puts histogram.Histogram
	for _, s := range p.slots[min(first, len(p.slots)):min(last, len(p.slots))] {
		w.Work += s.work
		if s.puts != nil {
			puts.Merge(s.puts)
		}
	}
	w.Puts, w.P50, w.P99, w.Max = puts.Count(), micros(puts.Quantile(0.5)), micros(puts.Quantile(0.99)), micros(puts.Max())
	return w
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
