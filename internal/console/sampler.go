package console

import (
	"context"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cairn/internal/lease"
	"cairn/internal/metrics"
)

const (
	// sampleInterval is the time between two samples. A sample takes some 0.1 ms, so that they are
	// taken whether or not a page shows them.
	sampleInterval = 10 * time.Second
	// sampleSpan is how long samples are kept.
	sampleSpan = time.Hour
	samplesMax = int(sampleSpan / sampleInterval)
	// sightingInterval is the time between the revisions that are kept for longer than samples, and
	// sightingsMax the number of these: 30 days.
	sightingInterval = 10 * time.Minute
	sightingsMax     = 30 * 24 * 6
	// watchedFor is the time after a request for samples during which samples that cost more are
	// taken, too.
	watchedFor = time.Minute
	// leasesCountMax is the number of leases up to which they are counted.
	leasesCountMax = 100_000
)

// sampler takes samples of the member's counters and keeps them for an hour.
type sampler struct {
	meters *metrics.Metrics
	member Member
	now    func() time.Time
	viewed atomic.Int64 // when a page last requested samples, unix ms

	mu      sync.Mutex // guards the fields below
	samples []sample   // oldest first
	seen    []sighting // oldest first
	last    *moment
}

// moment has the counters from which rates are computed.
type moment struct {
	at  time.Time
	raw metrics.Sample
	cpu time.Duration
}

// sample has a value for each series; nil means unknown.
type sample struct {
	at     int64 // unix ms
	values []any
}

// sighting is a revision that was the current one at a time.
type sighting struct {
	Revision int64     `json:"revision"`
	Time     time.Time `json:"time"`
}

func newSampler(meters *metrics.Metrics, m Member, now func() time.Time) *sampler {
	return &sampler{meters: meters, member: m, now: now}
}

// run takes samples until ctx ends.
func (s *sampler) run(ctx context.Context) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for s.take(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.take()
		}
	}
}

// take takes a sample.
func (s *sampler) take() {
	m := &moment{at: s.now(), raw: s.meters.Sample(), cpu: processorTime()}
	leases := any(nil)
	if m.at.UnixMilli()-s.viewed.Load() < watchedFor.Milliseconds() {
		if n, err := lease.Count(s.member.Keys().Reading(), leasesCountMax); err == nil && n < leasesCountMax {
			leases = n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && m.at.After(s.last.at) {
		s.samples = append(s.samples, sample{m.at.UnixMilli(), values(s.last, m, leases)})
		s.samples = s.samples[max(0, len(s.samples)-samplesMax):]
	}
	s.last = m
	s.sightLocked(sighting{m.raw.State.CurrentRevision, m.at})
}

// sightLocked keeps a revision. Of those older than the samples, it keeps one for each
// sightingInterval.
func (s *sampler) sightLocked(now sighting) {
	s.seen = append(s.seen, now)
	old := sort.Search(len(s.seen), func(i int) bool { return now.Time.Sub(s.seen[i].Time) <= sampleSpan })
	if old >= 2 && s.seen[old-1].Time.Sub(s.seen[old-2].Time) < sightingInterval {
		s.seen = append(s.seen[:old-1], s.seen[old:]...)
	}
	s.seen = s.seen[max(0, len(s.seen)-sightingsMax-samplesMax):]
}

// sightings returns the revisions that were seen, oldest first.
func (s *sampler) sightings() []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sighting{}, s.seen...)
}

// timesOf returns the times between which a revision was made; nil for what is unknown.
func (s *sampler) timesOf(revision int64) (after, before *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.seen), func(i int) bool { return s.seen[i].Revision >= revision })
	if i > 0 {
		after = new(s.seen[i-1].Time)
	}
	if i < len(s.seen) {
		before = new(s.seen[i].Time)
	}
	return after, before
}

// series are the names of a sample's values.
var series = []string{
	"requests_range", "requests_put", "requests_delete", "requests_txn", "requests_lease", "requests_watch", "requests_other", "requests_v2", "requests_failed",
	"latency_p50", "latency_p90", "latency_p99", "fsync_p50", "fsync_p99", "commit_p99",
	"revision", "keys", "db_bytes", "db_in_use_bytes", "watchers", "watch_streams", "watchers_slow", "events_pending", "leases",
	"proposals_pending", "raft_applied", "received_bytes", "sent_bytes", "memory_bytes", "goroutines", "cpu",
}

// values returns the values of the series between two moments.
func values(last, now *moment, leases any) []any {
	seconds := now.at.Sub(last.at).Seconds()
	rate := func(of func(*metrics.Sample) float64) any { return round((of(&now.raw) - of(&last.raw)) / seconds) }
	quantile := func(of func(*metrics.Sample) metrics.Distribution, q float64) any {
		v, ok := of(&now.raw).Since(of(&last.raw)).Quantile(q)
		if !ok {
			return nil
		}
		return round(v * 1000)
	}
	requests := func(s *metrics.Sample) metrics.Distribution { return s.Requests }
	fsync := func(s *metrics.Sample) metrics.Distribution { return s.Fsync }
	commit := func(s *metrics.Sample) metrics.Distribution { return s.Commit }
	st := &now.raw.State
	return []any{
		rate(func(s *metrics.Sample) float64 { return s.Ranges }),
		rate(func(s *metrics.Sample) float64 { return s.Puts }),
		rate(func(s *metrics.Sample) float64 { return s.Deletes }),
		rate(func(s *metrics.Sample) float64 { return s.Txns }),
		rate(func(s *metrics.Sample) float64 { return s.Leases }),
		rate(func(s *metrics.Sample) float64 { return s.Watches }),
		rate(func(s *metrics.Sample) float64 { return s.Others }),
		rate(func(s *metrics.Sample) float64 { return s.V2 }),
		rate(func(s *metrics.Sample) float64 { return s.Failed }),
		quantile(requests, 0.5), quantile(requests, 0.9), quantile(requests, 0.99), quantile(fsync, 0.5), quantile(fsync, 0.99), quantile(commit, 0.99),
		st.CurrentRevision, st.Keys, st.DBTotalBytes, st.DBInUseBytes, st.Watchers, st.WatchStreams, st.WatchersBehind, st.EventsPending, leases,
		st.ProposalsPending, st.ProposalsApplied,
		rate(func(s *metrics.Sample) float64 { return s.ReceivedBytes }),
		rate(func(s *metrics.Sample) float64 { return s.SentBytes }),
		memoryBytes(), runtime.NumGoroutine(), round((now.cpu - last.cpu).Seconds() / seconds),
	}
}

// round leaves three decimal places, which keeps the JSON short.
func round(v float64) float64 { return float64(int64(v*1000+0.5)) / 1000 }

// processorTime returns the processor time that the process has used.
func processorTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// memoryBytes returns the memory that Go's runtime has from the system.
func memoryBytes() uint64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(s)
	if s[0].Value.Kind() != runtimemetrics.KindUint64 || s[1].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

type statsResponse struct {
	Now      int64    `json:"now"`      // unix ms
	Interval int64    `json:"interval"` // ms
	Series   []string `json:"series"`
	Samples  [][]any  `json:"samples"`
}

// stats returns the samples after a time.
func (c *call) stats() (any, error) {
	var in struct {
		Since int64 `json:"since"` // unix ms
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	out := statsResponse{Now: c.opts.Now().UnixMilli(), Interval: sampleInterval.Milliseconds(), Series: series, Samples: [][]any{}}
	if err := c.identified(); err != nil {
		return nil, err
	}
	s := c.samples
	s.viewed.Store(out.Now)
	s.mu.Lock()
	defer s.mu.Unlock()
	from := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].at > in.Since })
	for _, one := range s.samples[from:] {
		out.Samples = append(out.Samples, append([]any{one.at}, one.values...))
	}
	return out, nil
}
