package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A metric is a figure that a scenario yields, the same for both servers.
type metric struct {
	name   string
	format func(float64) string
}

func perSecond(v float64) string {
	if v < 1000 {
		return threeDigits(v) + "/s"
	}
	return fmt.Sprintf("%.0f/s", v)
}

func seconds(v float64) string { return formatMicros(v * 1e6) }

var (
	throughput  = metric{"throughput", perSecond}
	cpu         = metric{"CPU per request", formatMicros}
	p50         = metric{"p50", formatMicros}
	p99         = metric{"p99", formatMicros}
	memory      = metric{"RSS", formatBytes}
	memoryPeak  = metric{"RSS at its peak", formatBytes}
	fillRate    = metric{"keys filled", perSecond}
	diskUsed    = metric{"disk used", formatBytes}
	afterKill   = metric{"ready after SIGKILL", seconds}
	afterTerm   = metric{"ready after SIGTERM", seconds}
	memoryAfter = metric{"RSS after restart", formatBytes}

	loadMetrics = []metric{throughput, cpu, p50, p99, memory}
)

// sample has the figures of one run of a scenario on one server, by metric name.
type sample map[string]float64

// goal is the target of a metric, from issue 2: one limit is set, the others are 0.
type goal struct {
	atLeast, atMost float64 // of the ratio ours/theirs
	oursBelow       float64 // of our own figure
}

// scenario is one thing to compare.
type scenario struct {
	name    string
	summary string
	metrics []metric
	goals   map[string]goal
	members int // of a cluster; 0 means a single member
	run     func(context.Context, *trial) (sample, error)
}

// trial is one run on one server, freshly started.
type trial struct {
	server   *server // of a cluster: the first
	cluster  cluster // nil for a single member
	bar      *progress
	scale    scale
	duration time.Duration
	warmup   time.Duration
}

// scale shrinks a comparison to a smoke test.
type scale struct {
	divisor int // of key counts
}

func (s scale) keys(n int) int { return max(n/s.divisor, 1000) }

// fill is how a load scenario's key space is filled first.
type fill int

const (
	noFill fill = iota
	fillV3
	fillV2
)

// load makes a scenario of a workload: fill, warm up, measure. edit sets what differs from the
// workload's defaults; key counts that it sets are scaled down in a smoke test.
func load(name, summary string, kind workloadKind, first fill, edit func(*settings), goals map[string]goal) scenario {
	return scenario{
		name: name, summary: summary, metrics: loadMetrics, goals: goals,
		run: func(ctx context.Context, t *trial) (sample, error) {
			s := t.settings(kind)
			edit(&s)
			s.keys = t.scale.keys(s.keys)
			s.limit = min(s.limit, s.keys)
			unnamed := s
			unnamed.user = "" // authentication is enabled after the fill
			if err := t.prefill(ctx, first, unnamed); err != nil {
				return nil, fmt.Errorf("fill: %w", err)
			}
			if s.user != "" {
				if err := enableAuth(ctx, t.server); err != nil {
					return nil, err
				}
			}
			s.pid = t.server.pid() // after the fill, which restarts the server
			s.duration, s.warmup = t.duration, t.warmup
			r, err := t.measure(ctx, kind, s)
			if err != nil {
				return nil, err
			}
			return sample{
				throughput.name: r.RequestsPerSecond,
				cpu.name:        r.Server.CPUMicrosPerRequest,
				p50.name:        r.Latency.P50,
				p99.name:        r.Latency.P99,
				memory.name:     float64(r.Server.RSSBytes),
			}, nil
		},
	}
}

// settings returns a workload's defaults, with the trial's server as the endpoint.
func (t *trial) settings(kind workloadKind) settings {
	s := defaultSettings()
	if kind.defaults != nil {
		kind.defaults(&s)
	}
	s.endpoints, s.tls = []endpoint{t.server.endpoint()}, t.server.files()
	s.pid = t.server.pid()
	return s
}

// measure runs a workload; a failed request makes the run invalid, since its figures would compare
// something else.
func (t *trial) measure(ctx context.Context, kind workloadKind, s settings) (*report, error) {
	r, err := measure(ctx, kind, s, t.bar)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && r.Errors.Total > 0 {
		err = fmt.Errorf("%d of %d requests ended in errors, such as: %s", r.Errors.Total, r.Errors.Total+r.Requests, r.Errors.Texts[0].Text)
	}
	if err == nil && r.Requests == 0 {
		err = errors.New("no request succeeded in the measured time")
	}
	return r, errors.Join(err, t.server.running(), t.cluster.running())
}

func (t *trial) prefill(ctx context.Context, how fill, s settings) error {
	var kind workloadKind
	switch how {
	case noFill:
		return nil
	case fillV3:
		kind = fillKind
	case fillV2:
		kind = v2SetKind
		s.sequential, s.total = true, s.keys
		s.connections, s.clients = 64, 64
	}
	if kind.defaults != nil {
		keys := s.keys
		kind.defaults(&s)
		s.keys = keys
	}
	if _, err := t.measure(ctx, kind, s); err != nil {
		return err
	}
	if how == fillV2 {
		return nil
	}
	// Reads begin on a restarted server. etcd 3.4 copies, at each read, a buffer as long as the
	// largest batch of writes since its start: right after a fill a get costs it 0.4 ms of CPU
	// instead of 0.06, which would favor cairn.
	if err := t.server.terminate(); err != nil {
		return err
	}
	_, err := t.server.start(ctx)
	return err
}

func clients(connections, clients int) func(*settings) {
	return func(s *settings) { s.connections, s.clients = connections, clients }
}

func serializable(s *settings) {
	clients(100, 1000)(s)
	s.serializable = true
}

func withUser(s *settings) {
	clients(64, 64)(s)
	s.user = benchUser
}

// The goals of issue 5 for v2.
var (
	v2SetGoal = map[string]goal{throughput.name: {atLeast: 1.5}}
	v2GetGoal = map[string]goal{throughput.name: {atLeast: 1}}
)

var scenarios = []scenario{
	load("put-1000", "1,000 clients put", putKind, noFill, clients(100, 1000),
		map[string]goal{throughput.name: {atLeast: 1.5}, cpu.name: {atMost: 0.5}}),
	load("get-1000", "1,000 clients get, linearizable", getKind, fillV3, clients(100, 1000),
		map[string]goal{cpu.name: {atMost: 0.3}}),
	load("get-1000-serializable", "1,000 clients get, serializable", getKind, fillV3, serializable,
		map[string]goal{cpu.name: {atMost: 0.3}}),
	load("put-1", "one client puts", putKind, noFill, clients(1, 1),
		map[string]goal{p50.name: {atMost: 0.8}}),
	load("get-1", "one client gets, linearizable", getKind, fillV3, clients(1, 1), nil),
	load("list-1000", "8 clients list 1,000 of 100,000 keys with their count", rangeKind, fillV3, clients(8, 8),
		map[string]goal{cpu.name: {atMost: 0.1}}),
	load("txn-1000", "1,000 clients compare a key's revision and put", txnKind, noFill, clients(100, 1000), nil),
	load("txn-4-1000", "1,000 clients put 4 keys in a txn", txnPutKind, noFill, clients(100, 1000), nil),
	load("v2-set-64", "64 clients set by v2", v2SetKind, noFill, clients(64, 64), v2SetGoal),
	load("v2-set-256", "256 clients set by v2", v2SetKind, noFill, clients(256, 256), v2SetGoal),
	load("v2-set-1", "one client sets by v2", v2SetKind, noFill, clients(1, 1), v2SetGoal),
	load("v2-get-64", "64 clients get by v2", v2GetKind, fillV2, clients(64, 64), v2GetGoal),
	load("v2-get-256", "256 clients get by v2", v2GetKind, fillV2, clients(256, 256), v2GetGoal),
	load("v2-get-1", "one client gets by v2", v2GetKind, fillV2, clients(1, 1), v2GetGoal),
	load("v2-get-64-auth", "64 clients get by v2, each request with a name and a password", v2GetKind, fillV2, withUser, map[string]goal{throughput.name: {atLeast: 1000}}),
	polls("v2-polls-5000", 5000, map[string]goal{allAnswered.name: {atMost: 1}, bytesPerPoll.name: {atMost: 1}}),
	load("keepalive-1000", "1,000 clients renew one lease each", keepAliveKind, noFill, clients(100, 1000),
		map[string]goal{throughput.name: {atLeast: 3}, cpu.name: {atMost: 0.25}}),
	load("keepalive-once-1000", "1,000 clients renew one lease each, with a stream for each renewal", keepAliveOnceKind, noFill, clients(100, 1000),
		map[string]goal{throughput.name: {atLeast: 3}, cpu.name: {atMost: 0.25}}),
	{
		name: "watch-10000", summary: "10,000 watches of one key that is put 1,000 times, 1,000 times a second",
		metrics: []metric{eventRate, eventP50, eventP99, cpuPerEvent, memoryPeak},
		goals:   map[string]goal{eventRate.name: {atLeast: 1}, eventP99.name: {atMost: 1}},
		run:     fanOut(1000, 1000),
	},
	{
		name: "watch-10000-paced", summary: "10,000 watches of one key that is put 50 times, 5 times a second",
		metrics: []metric{eventRate, eventP50, eventP99, cpuPerEvent, memoryPeak},
		goals:   map[string]goal{eventP99.name: {atMost: 1}},
		run:     fanOut(50, 5),
	},
	{
		name: "watch-idle", summary: "100,000 watches of other keys",
		metrics: []metric{bytesPerWatcher, memory},
		goals:   map[string]goal{bytesPerWatcher.name: {atMost: 1}},
		run:     runIdle,
	},
	{
		name: "lease-expiry", summary: "100,000 leases expire together while 10 clients put",
		metrics: []metric{putP50Expiring, putP99Expiring, allExpired},
		goals:   map[string]goal{putP99Expiring.name: {atMost: 1}},
		run:     runExpiry,
	},
	{
		name: "list-1m", summary: "one list of 1,000,000 keys of 256 B",
		metrics: []metric{listTook, listRate, memoryPeak},
		goals:   map[string]goal{listTook.name: {atMost: 1}, memoryPeak.name: {atMost: 1}},
		run:     runList,
	},
	{
		name: "mem-1m", summary: "1,000,000 keys of 256 B filled in",
		metrics: []metric{fillRate, memory, memoryPeak, diskUsed},
		goals:   map[string]goal{memory.name: {atMost: 1}},
		run:     runMemory,
	},
	{
		name: "restart-1m", summary: "restart with 1,000,000 keys of 256 B",
		metrics: []metric{afterKill, afterTerm, memoryAfter},
		goals:   map[string]goal{afterKill.name: {oursBelow: 2}, afterTerm.name: {oursBelow: 2}},
		run:     runRestart,
	},
}

// fillMillion fills a million keys (fewer in a smoke test) and returns the report.
func (t *trial) fillMillion(ctx context.Context) (settings, *report, error) {
	s := t.settings(fillKind)
	s.keys = t.scale.keys(1_000_000)
	r, err := t.measure(ctx, fillKind, s)
	if err != nil {
		return s, nil, fmt.Errorf("fill: %w", err)
	}
	return s, r, nil
}

func runMemory(ctx context.Context, t *trial) (sample, error) {
	_, r, err := t.fillMillion(ctx)
	if err != nil {
		return nil, err
	}
	disk, err := t.server.diskBytes()
	if err != nil {
		return nil, err
	}
	return sample{
		fillRate.name:   r.KeysPerSecond,
		memory.name:     float64(r.Server.RSSBytes),
		memoryPeak.name: float64(r.Server.RSSPeakBytes),
		diskUsed.name:   float64(disk),
	}, nil
}

// runRestart measures the time to serve again after a SIGKILL under load, right after a fill, and
// after a SIGTERM, and checks each time that no key was lost.
func runRestart(ctx context.Context, t *trial) (sample, error) {
	s, _, err := t.fillMillion(ctx)
	if err != nil {
		return nil, err
	}
	result := sample{}
	stops := []struct {
		metric metric
		stop   func() error
	}{
		{afterKill, func() error { t.server.kill(); return nil }},
		{afterTerm, t.server.terminate},
	}
	for _, stop := range stops {
		if err := stop.stop(); err != nil {
			return nil, err
		}
		took, err := t.server.start(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stop.metric.name, err)
		}
		result[stop.metric.name] = took.Seconds()
		usage, err := sampleProcess(t.server.pid())
		if err != nil {
			return nil, err
		}
		result[memoryAfter.name] = float64(usage.rssBytes)
		if err := t.checkCount(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", stop.metric.name, err)
		}
	}
	return result, nil
}

// checkCount returns an error unless the server has exactly the keys filled in.
func (t *trial) checkCount(ctx context.Context, s settings) error {
	keys, err := newKeyspace(s)
	if err != nil {
		return err
	}
	s.connections = 1
	conns, err := dialV3(ctx, s)
	if err != nil {
		return err
	}
	defer conns.close()
	response, err := conns.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte(s.prefix), RangeEnd: keys.end(), CountOnly: true})
	if err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	if response.Count != int64(s.keys) {
		return fmt.Errorf("%d keys after the restart, want %d: acknowledged writes are lost", response.Count, s.keys)
	}
	return nil
}
