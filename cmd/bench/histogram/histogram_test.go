package histogram

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Each bucket must begin right after the one before it ends, or a value is counted in the wrong
// place.
func TestBucketsAreContiguous(t *testing.T) {
	for i := range buckets - 1 {
		end := upper(i)
		if got := bucket(end); got != i {
			t.Fatalf("bucket(%d) = %d, want %d: the bucket's own upper edge", end, got, i)
		}
		if got := bucket(end + 1); got != i+1 {
			t.Fatalf("bucket(%d) = %d, want %d: one past the upper edge of %d", end+1, got, i+1, i)
		}
	}
}

func TestBucketsAreNarrow(t *testing.T) {
	for i := 1; i < buckets; i++ {
		width := upper(i) - upper(i-1)
		if relative := float64(width) / float64(upper(i)); relative > 1.0/parts && width > 1 {
			t.Fatalf("bucket %d ending at %d is %d wide (%.3f of its value)", i, upper(i), width, relative)
		}
	}
}

func TestQuantileAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var values []time.Duration
	for range 20_000 {
		// Spread over nine decades, as latencies with a tail are.
		d := time.Duration(1) << rng.IntN(34)
		d += time.Duration(rng.Int64N(int64(d)))
		values = append(values, d)
		h.Record(d)
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		rank := max(int(q*float64(len(values))+0.999999), 1)
		want := values[rank-1]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*(1+1.0/parts)+1 {
			t.Errorf("Quantile(%v) = %d, want %d to %.0f", q, got, want, float64(want)*(1+1.0/parts))
		}
	}
	if h.Max() != values[len(values)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("Max() = %d, Quantile(1) = %d, want both %d", h.Max(), h.Quantile(1), values[len(values)-1])
	}
}

func TestSmallCounts(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Errorf("an empty histogram has p50 %d, mean %d, max %d, want 0", h.Quantile(0.5), h.Mean(), h.Max())
	}
	h.Record(10)
	h.Record(30)
	h.Record(-5)
	if h.Count() != 3 || h.Mean() != 13 || h.Quantile(0.5) != 10 || h.Quantile(0.34) != 10 || h.Quantile(0.33) != 0 {
		t.Errorf("count %d mean %d p50 %d", h.Count(), h.Mean(), h.Quantile(0.5))
	}
	// Beyond the last bucket, the exact maximum is all that is known.
	h.Record(1000 * time.Hour)
	if got := h.Quantile(1); got != 1000*time.Hour {
		t.Errorf("Quantile(1) = %v, want 1000h", got)
	}
}

func TestMergeEqualsRecordingTogether(t *testing.T) {
	var a, b, both Histogram
	for i := range 1000 {
		d := time.Duration(i * i)
		both.Record(d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	a.Merge(&b)
	if a != both {
		t.Error("two halves merged differ from the whole")
	}
}
