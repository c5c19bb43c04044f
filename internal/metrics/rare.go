package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// rare has the metrics of rare events: snapshots, hashes, promotions, grants.
type rare struct {
	LeaseTTLs prometheus.Histogram // TTLs of granted leases, in seconds

	Hash         prometheus.Histogram // seconds that a hash of the whole state took
	HashRevision prometheus.Histogram // seconds that a hash of the keys at a revision took

	BackendSnapshot prometheus.Histogram // seconds that sending the whole state to a client took

	// snapshots of other members that are replacing the state: 0 or 1
	SnapshotsApplying prometheus.Gauge

	// CompactionPause observes the milliseconds that one step of the work after a compaction took,
	// during which nothing is applied. CompactionTotal observes the milliseconds from the
	// compaction to the end of that work.
	CompactionPause, CompactionTotal prometheus.Histogram
	// Unix time when the last such work ended; 0 if none has ended since the start
	CompactionLast prometheus.Gauge

	LearnersPromoted prometheus.Counter // requested by this member's clients

	promoteFailures  *prometheus.CounterVec
	snapshotSave     prometheus.Histogram
	snapshotReceive  *prometheus.HistogramVec
	snapshotFailures *prometheus.CounterVec
	snapshotInflight *prometheus.GaugeVec
}

func newRare(registry *prometheus.Registry) rare {
	histogram := func(name, help string, first float64, buckets int) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, buckets)})
		registry.MustRegister(h)
		return h
	}
	r := rare{
		LeaseTTLs:       histogram("etcd_debugging_lease_ttl_total", "TTLs of the leases granted at this member's clients' request, in seconds.", 1, 24),
		Hash:            histogram("etcd_mvcc_hash_duration_seconds", "Time that a hash of the whole state took.", 0.01, 15),
		HashRevision:    histogram("etcd_mvcc_hash_rev_duration_seconds", "Time that a hash of the keys at a revision took.", 0.01, 15),
		BackendSnapshot: histogram("etcd_disk_backend_snapshot_duration_seconds", "Time that it took to send a client the whole state.", 0.01, 17),
		snapshotSave:    histogram("etcd_snap_db_save_total_duration_seconds", "Time that it took to write another member's snapshot to disk.", 0.1, 10),
		CompactionPause: histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "Time that one step of the work after a compaction took.", 1, 13),
		CompactionTotal: histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Time from a compaction to the end of its work.", 100, 14),
		CompactionLast: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_debugging_mvcc_db_compaction_last", Help: "Unix time of the end of the last compaction since the start.",
		}),
		LearnersPromoted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_learner_promote_successes", Help: "Learners promoted at this member's clients' request.",
		}),
		promoteFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_learner_promote_failures", Help: "Promotions of learners that were refused to this member's clients.",
		}, []string{"Reason"}),
		snapshotReceive: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_network_snapshot_receive_total_duration_seconds", Help: "Time that it took to receive a snapshot.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 10),
		}, []string{"From"}),
		snapshotFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_network_snapshot_receive_failures", Help: "Snapshots of a peer that were not taken.",
		}, []string{"From"}),
	}
	r.SnapshotsApplying = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "etcd_server_snapshot_apply_in_progress_total", Help: "1 while the state is replaced by another member's.",
	})
	r.snapshotInflight = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "etcd_network_snapshot_receive_inflights_total", Help: "Snapshots of a peer that are being received.",
	}, []string{"From"})
	registry.MustRegister(r.CompactionLast, r.LearnersPromoted, r.promoteFailures, r.snapshotReceive, r.snapshotFailures, r.SnapshotsApplying, r.snapshotInflight)
	return r
}

// LearnerPromoteFailed counts a refused promotion. The reason is one of a few texts: it becomes a
// label.
func (r *rare) LearnerPromoteFailed(reason string) { r.promoteFailures.WithLabelValues(reason).Inc() }

// ReceivingSnapshot is called when receiving a snapshot of another member begins; the returned
// function is called when it is on disk or has failed. Receiving and writing are one operation
// here, two metrics in etcd.
func (r *rare) ReceivingSnapshot(from uint64) (done func(took time.Duration, ok bool)) {
	id := hexadecimal(from)
	r.snapshotInflight.WithLabelValues(id).Inc()
	return func(took time.Duration, ok bool) {
		r.snapshotInflight.WithLabelValues(id).Dec()
		if !ok {
			r.snapshotFailures.WithLabelValues(id).Inc()
			return
		}
		r.snapshotSave.Observe(took.Seconds())
		r.snapshotReceive.WithLabelValues(id).Observe(took.Seconds())
	}
}
