package snapshot

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"cairn/internal/storage"
)

// BenchmarkTransfer streams a store of 1 GiB (or CAIRN_BENCH_BYTES) and builds the tables of
// another one from the stream, as a snapshot for a follower does, on the disk of the temporary
// directory. heap-MB is the peak growth of the Go heap meanwhile; values are half random, so that
// they compress to about half.
func BenchmarkTransfer(b *testing.B) {
	size := 1 << 30
	if n, err := strconv.Atoi(os.Getenv("CAIRN_BENCH_BYTES")); err == nil {
		size = n
	}
	const valueBytes = 1 << 10
	from, to := openDisk(b), openDisk(b)
	value, rng := make([]byte, valueBytes), rand.NewChaCha8([32]byte{})
	for i := 0; i < size/valueBytes; {
		batch := from.NewBatch()
		for n := 0; n < 4096 && i < size/valueBytes; n, i = n+1, i+1 {
			rng.Read(value[:valueBytes/2]) //nolint:errcheck // never fails
			if err := batch.Append(fmt.Appendf(nil, "c%09d", i), value); err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(batch.Commit(false), batch.Close()); err != nil {
			b.Fatal(err)
		}
	}
	if err := from.Flush(); err != nil {
		b.Fatal(err)
	}
	before := heap()
	b.SetBytes(int64(size))
	b.ResetTimer()
	for i := range b.N {
		peak, stream, swap := transfer(b, from, to, fmt.Sprintf("%s/receive%d", b.TempDir(), i))
		b.ReportMetric(float64(peak-min(peak, before))/1e6, "heap-MB")
		b.ReportMetric(float64(stream)/1e6, "stream-MB")
		b.ReportMetric(float64(swap.Microseconds())/1e3, "swap-ms")
	}
	b.StopTimer()
	if err := errors.Join(from.Close(), to.Close()); err != nil {
		b.Fatal(err)
	}
}

func openDisk(b *testing.B) *storage.Store {
	b.Helper()
	s, err := storage.OpenState(b.TempDir(), storage.Options{CacheBytes: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func transfer(b *testing.B, from, to *storage.Store, scratch string) (peak uint64, bytes int64, swap time.Duration) {
	b.Helper()
	view, err := from.NewView()
	if err != nil {
		b.Fatal(err)
	}
	source, err := NewSource(view, testMeta())
	if err != nil {
		b.Fatal(err)
	}
	in, err := NewStream(source)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	tables, err := to.NewTables(scratch)
	if err != nil {
		b.Fatal(err)
	}
	for {
		key, v, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = tables.Add(key, v)
		}
		if err != nil {
			b.Fatal(err)
		}
		if in.Count()%1024 == 0 {
			peak = max(peak, heap())
		}
	}
	if err := errors.Join(tables.Finish(), source.Close()); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := to.Replace(tables); err != nil {
		b.Fatal(err)
	}
	return peak, in.Bytes(), time.Since(began)
}
