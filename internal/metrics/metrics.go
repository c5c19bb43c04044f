// Package metrics owns the definition of every metric that a member serves: etcd's names, types and
// buckets where etcd has the metric, so that its dashboards and alerts keep working, and cairn_…
// for additional ones.
//
// It does not own the numbers. The package in which a request or event occurs counts it here;
// values that are the state of another package are read at each scrape (State), and cost nothing in
// between.
//
// Invariant: no label is looked up on a request's path: counters with labels are handed out as
// resolved children (TestHotPath).
//
// Concurrency: counters and histograms may be used from anywhere. AddService and SetState are
// called while a member is being constructed, before anything is served.
package metrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cairn/internal/version"
)

// Metrics has a member's metrics, in a separate registry.
type Metrics struct {
	registry   *prometheus.Registry
	memberID   uint64
	grpc       grpcVectors
	checks     checkVectors
	roundTrips *prometheus.HistogramVec
	clients    *clientVersions
	methods    map[string]*Method
	state      atomic.Pointer[func() State]

	rare
	durations
	V2 *V2Requests

	// proposals that failed with an error of the raft layer
	ProposalsFailed prometheus.Counter
	SlowApplies     prometheus.Counter // batches that took more than 100 ms to apply
	// read confirmations that took longer than an election timeout
	SlowReadIndexes   prometheus.Counter
	ReadIndexesFailed prometheus.Counter
	// heartbeats that this leader sent more than an interval late
	HeartbeatsLate  prometheus.Counter
	HealthSuccesses prometheus.Counter // successful health checks
	HealthFailures  prometheus.Counter

	// operations applied or read by this member, including those within transactions
	Ranges  prometheus.Counter
	Puts    prometheus.Counter
	Deletes prometheus.Counter
	Txns    prometheus.Counter

	Events   prometheus.Counter // of changes applied
	PutBytes prometheus.Gauge   // keys and values of the puts applied

	LeasesGranted, LeasesRenewed, LeasesRevoked prometheus.Counter // requested from this member
	// that this member, as the leader, has expired
	LeasesExpired prometheus.Counter

	// seconds that a write to the raft log's journal took, without the fsync
	LogWrite    prometheus.Histogram
	LogFsync    prometheus.Histogram // seconds that an append to the raft log waited for the disk
	StateCommit prometheus.Histogram // seconds that the state store took for a batch

	ClientReceivedBytes prometheus.Counter // over gRPC, from clients
	ClientSentBytes     prometheus.Counter
}

// State has the values of a member's other parts at one moment.
type State struct {
	HasLeader, IsLeader, IsLearner bool
	LeaderChanges                  uint64 // seen since the start

	ProposalsCommitted, ProposalsApplied uint64 // raft indexes
	ProposalsPending                     uint64
	LogBytesWritten                      uint64 // since the start
	AuthRevision                         uint64

	Alarms []Alarm

	CurrentRevision, CompactRevision int64
	Keys                             int64 // live keys; negative when not counted

	Watchers, WatchStreams int64
	WatchersBehind         int64 // that read from history
	EventsPending          int64 // that were not sent to watchers yet

	Peers []PeerState
	V2    V2State

	DBTotalBytes, DBInUseBytes int64
	QuotaBytes                 int64

	ClusterVersion string // as in 3.7, or "" while there is none
}

// Alarm is an alarm of a member.
type Alarm struct {
	Member uint64 // 0 if the member is unknown
	Kind   string // etcd's name: NOSPACE, CORRUPT
}

// latencyBuckets are etcd's for operations that wait for a disk: 1 ms to 8 s, doubling.
var latencyBuckets = prometheus.ExponentialBuckets(0.001, 2, 14)

// New defines the metrics of a member.
func New(memberID uint64) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), memberID: memberID, methods: map[string]*Method{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	latency := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencyBuckets})
		m.registry.MustRegister(h)
		return h
	}
	constant := func(name, help, label, value string) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}})
		g.Set(1)
		m.registry.MustRegister(g)
	}

	m.ProposalsFailed = counter("etcd_server_proposals_failed_total", "Proposals that failed.")
	m.SlowApplies = counter("etcd_server_slow_apply_total", "Batches that were slow to apply.")
	m.HeartbeatsLate = counter("etcd_server_heartbeat_send_failures_total", "Heartbeats of this leader that were sent late.")
	m.SlowReadIndexes = counter("etcd_server_slow_read_indexes_total", "Linearizable reads whose confirmation by the quorum was slow.")
	m.ReadIndexesFailed = counter("etcd_server_read_indexes_failed_total", "Linearizable reads that the quorum did not confirm.")
	m.HealthSuccesses = counter("etcd_server_health_success", "Health checks that found the member healthy.")
	m.HealthFailures = counter("etcd_server_health_failures", "Health checks that found the member unhealthy.")

	m.Ranges = counter("etcd_mvcc_range_total", "Ranges read by this member.")
	m.Puts = counter("etcd_mvcc_put_total", "Puts applied by this member.")
	m.Deletes = counter("etcd_mvcc_delete_total", "Deletes applied by this member.")
	m.Txns = counter("etcd_mvcc_txn_total", "Transactions applied by this member.")

	m.Events = counter("etcd_debugging_mvcc_events_total", "Changes of keys and directories applied by this member.")
	// etcd's type
	m.PutBytes = prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_total_put_size_in_bytes", Help: "Bytes of keys and values put."})
	m.registry.MustRegister(
		m.PutBytes,
		mirrorOf("etcd_debugging_mvcc_range_total", "As etcd_mvcc_range_total.", m.Ranges),
		mirrorOf("etcd_debugging_mvcc_put_total", "As etcd_mvcc_put_total.", m.Puts),
		mirrorOf("etcd_debugging_mvcc_delete_total", "As etcd_mvcc_delete_total.", m.Deletes),
		mirrorOf("etcd_debugging_mvcc_txn_total", "As etcd_mvcc_txn_total.", m.Txns),
		descriptors{},
	)
	m.LeasesGranted = counter("etcd_debugging_lease_granted_total", "Leases granted at this member's clients' request.")
	m.LeasesRenewed = counter("etcd_debugging_lease_renewed_total", "Leases renewed at this member's clients' request.")
	m.LeasesRevoked = counter("etcd_debugging_lease_revoked_total", "Leases revoked at this member's clients' request.")
	m.LeasesExpired = counter("etcd_debugging_server_lease_expired_total", "Leases that this member has ended because their time was over.")

	m.LogWrite = latency("etcd_disk_wal_write_duration_seconds", "Time that a write to the raft log took, without the fsync.")
	m.LogFsync = latency("etcd_disk_wal_fsync_duration_seconds", "Time that an append to the raft log took to be on disk.")
	m.StateCommit = latency("etcd_disk_backend_commit_duration_seconds", "Time that the state store took for a batch.")

	m.ClientReceivedBytes = counter("etcd_network_client_grpc_received_bytes_total", "Bytes received from gRPC clients.")
	m.ClientSentBytes = counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to gRPC clients.")

	constant("etcd_server_version", "Version of etcd's API that is served, as the label.", "server_version", version.API)
	constant("etcd_server_go_version", "Version of Go that built the program, as the label.", "server_go_version", version.Go())
	constant("etcd_server_id", "The member's ID in hexadecimal, as the label.", "server_id", fmt.Sprintf("%x", memberID))
	constant("cairn_version", "Version of cairn, as the label.", "cairn_version", version.Cairn)

	m.durations = newDurations(m.registry)
	m.V2 = newV2Requests(m.registry)
	registerZeros(m.registry)
	m.grpc = newGRPCVectors(m.registry)
	m.checks = newCheckVectors(m.registry)
	m.roundTrips = newRoundTrips(m.registry)
	m.clients = newClientVersions(m.registry)
	m.rare = newRare(m.registry)
	m.registry.MustRegister((*stateCollector)(m))
	return m
}

// SetState sets the function that returns the state at a scrape. It must return quickly and may be
// called by several goroutines. Before the call the state is the zero State.
func (m *Metrics) SetState(f func() State) { m.state.Store(&f) }

// Handler serves the metrics. Prometheus' own handler negotiates format and compression; only its
// name for the text format, to which newer versions add parameters, is replaced by etcd's.
func (m *Metrics) Handler() http.Handler {
	inner := promhttp.InstrumentMetricHandler(m.registry, newScrapes(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&plainText{ResponseWriter: w}, r)
	})
}

const textFormat = "text/plain; version=0.0.4"

type plainText struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (w *plainText) WriteHeader(status int) {
	if h := w.Header(); !w.begun && strings.HasPrefix(h.Get("Content-Type"), textFormat) {
		h.Set("Content-Type", textFormat)
	}
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *plainText) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}
