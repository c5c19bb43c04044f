// Package histogram counts durations in logarithmic buckets.
//
// It owns the bucketing and the quantiles over it, and nothing else: no clock, no formatting.
//
// The buckets are those of HdrHistogram (Gil Tene, http://hdrhistogram.org): each power of two of
// nanoseconds is cut into 64 equal parts, so that a bucket is at most 1/64 (1.6 %) of its value
// wide, at 64 ns as at a minute. A latency's tail is thus as exact as its median, in 22 KiB,
// without keeping one number per request.
//
// A Histogram is not safe for concurrent use; its owner holds a lock, or merges one per goroutine.
package histogram

import (
	"math"
	"math/bits"
	"time"
)

const (
	partBits = 6 // 64 parts per power of two
	parts    = 1 << partBits
	// maxBits bounds the buckets: 2^48 ns are 78 hours. Longer durations fall into the last
	// bucket.
	maxBits = 48
	buckets = (maxBits - partBits + 1) * parts
)

// Histogram is a count of durations. Its zero value is empty and ready for use.
type Histogram struct {
	counts [buckets]uint64
	count  uint64
	sum    float64 // nanoseconds
	max    time.Duration
}

// bucket returns the index of the bucket that holds d. Values below 128 ns have a bucket each.
// Above, a value is shifted right until seven bits are left, whose first is always set, and each
// shift moves 64 buckets on: 200 ns = 0b11001000 is shifted once, to 0b1100100 = 100, and falls
// into bucket 64 + 100 together with 201 ns.
func bucket(d time.Duration) int {
	if d < 0 {
		d = 0
	}
	v := uint64(d)
	length := bits.Len64(v)
	if length <= partBits+1 {
		return int(v)
	}
	if length > maxBits {
		return buckets - 1
	}
	shift := length - partBits - 1
	return shift<<partBits + int(v>>shift)
}

// upper returns the largest duration that bucket i holds.
func upper(i int) time.Duration {
	if i < 2*parts {
		return time.Duration(i)
	}
	shift := i>>partBits - 1
	part := uint64(i - shift<<partBits)
	return time.Duration((part+1)<<shift - 1)
}

// Record counts d once. A negative duration, which only a stepped clock yields, counts as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)]++
	h.count++
	h.sum += float64(d)
	h.max = max(h.max, d)
}

// Merge adds what other has counted to h.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// Count returns the number of durations recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Max returns the largest duration recorded, exactly, or 0 when there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean returns the average of the durations recorded, exactly, or 0 when there is none.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count))
}

// Quantile returns a duration that a share q (0 to 1) of those recorded does not exceed: the upper
// edge of the bucket in which that share is reached, so at most 1.6 % too large, never too small.
// It returns 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.count)))
	rank = min(max(rank, 1), h.count)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen >= rank {
			if i == buckets-1 {
				return h.max
			}
			return min(upper(i), h.max)
		}
	}
	return h.max
}
