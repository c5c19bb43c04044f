package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
)

// Sample has some of the metrics at one moment, for programs that show how they change without a
// Prometheus. Counts are since the process started.
type Sample struct {
	State State

	// RPCs begun, by kind; those as JSON included
	Ranges, Puts, Deletes, Txns, Leases, Watches, Others float64
	Failed                                               float64 // RPCs that ended with an error
	V2                                                   float64 // requests of the v2 API

	// seconds
	Requests Distribution // of unary RPCs
	Fsync    Distribution // of appends to the log
	Commit   Distribution // of batches of the state

	ReceivedBytes, SentBytes float64 // over gRPC
}

// Distribution has the measurements of histograms with the same buckets.
type Distribution struct {
	Bounds []float64 // upper bounds of the buckets, without the last one, which has none
	Counts []uint64  // measurements in each bucket, one more than bounds
}

// Sample returns the current metrics.
func (m *Metrics) Sample() (s Sample) {
	if state := m.state.Load(); state != nil {
		s.State = (*state)()
	}
	for name, method := range m.methods {
		started := valueOf(method.Started)
		switch service, rpc, _ := strings.Cut(strings.TrimPrefix(name, "/etcdserverpb."), "/"); {
		case service == "KV" && (rpc == "Range" || rpc == "RangeStream"):
			s.Ranges += started
		case service == "KV" && rpc == "Put":
			s.Puts += started
		case service == "KV" && rpc == "DeleteRange":
			s.Deletes += started
		case service == "KV" && rpc == "Txn":
			s.Txns += started
		case service == "Lease":
			s.Leases += max(started, valueOf(method.Received)) // each renewal is a message
		case service == "Watch":
			s.Watches += valueOf(method.Received)
		default:
			s.Others += started
		}
		for code, handled := range method.handled {
			if c := codes.Code(code); c != codes.OK && c != codes.Canceled {
				s.Failed += valueOf(handled)
			}
		}
		if method.requests != nil {
			s.Requests.add(method.requests[0])
			s.Requests.add(method.requests[1])
		}
	}
	for _, actions := range [][]V2Action{s.State.V2.Reads, s.State.V2.Writes} {
		for _, a := range actions {
			s.V2 += float64(a.Success + a.Failed)
		}
	}
	s.V2 += float64(s.State.V2.Watches)
	s.Fsync.add(m.LogFsync)
	s.Commit.add(m.StateCommit)
	s.ReceivedBytes, s.SentBytes = valueOf(m.ClientReceivedBytes), valueOf(m.ClientSentBytes)
	return s
}

func valueOf(c prometheus.Counter) float64 {
	var now dto.Metric
	if c.Write(&now) != nil { // cannot fail for a counter
		return 0
	}
	return now.GetCounter().GetValue()
}

// add adds the measurements of a histogram.
func (d *Distribution) add(o prometheus.Observer) {
	h, ok := o.(prometheus.Metric)
	var now dto.Metric
	if !ok || h.Write(&now) != nil {
		return
	}
	buckets := now.GetHistogram().GetBucket()
	if d.Counts == nil {
		d.Counts = make([]uint64, len(buckets)+1)
		for _, b := range buckets {
			d.Bounds = append(d.Bounds, b.GetUpperBound())
		}
	}
	before := uint64(0)
	for i, b := range buckets {
		d.Counts[i] += b.GetCumulativeCount() - before
		before = b.GetCumulativeCount()
	}
	d.Counts[len(buckets)] += now.GetHistogram().GetSampleCount() - before
}

// Since returns the measurements after an earlier moment.
func (d Distribution) Since(earlier Distribution) Distribution {
	out := Distribution{Bounds: d.Bounds, Counts: make([]uint64, len(d.Counts))}
	copy(out.Counts, d.Counts)
	for i, n := range earlier.Counts {
		out.Counts[i] -= n
	}
	return out
}

// Quantile returns the value below which a share q of the measurements is, interpolated within its
// bucket; ok is false without measurements.
func (d Distribution) Quantile(q float64) (value float64, ok bool) {
	total := uint64(0)
	for _, n := range d.Counts {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	rank, below, lower := q*float64(total), 0.0, 0.0
	for i, bound := range d.Bounds {
		n := float64(d.Counts[i])
		if below+n >= rank && n > 0 {
			return lower + (bound-lower)*(rank-below)/n, true
		}
		below, lower = below+n, bound
	}
	return lower, true // in the last bucket, which has no upper bound
}
