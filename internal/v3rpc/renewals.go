package v3rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"cairn/internal/metrics"
)

// Renewals serve calls of Lease.LeaseKeepAlive message by message, where the connection is read:
// many clients make a call for each renewal, whose own goroutine would cost more than the renewal.
// It implements grpcserver.Messages.
type Renewals struct {
	s *server
	m *metrics.Method
}

// Accept implements grpcserver.Messages. It leaves to the handler what package v3rpc would refuse,
// and calls that end when the leader is lost.
func (r *Renewals) Accept(ctx context.Context) bool {
	if r.m.Timed() || r.s.member.Role.IsLearner() || needsLeader(ctx) {
		return false
	}
	clientOf(ctx, r.s.meters).Stream.Inc()
	r.m.Started.Inc()
	return true
}

// Message implements grpcserver.Messages.
func (r *Renewals) Message(request, dst []byte) (response []byte, ok bool) {
	var req renewalRequest
	if req.UnmarshalWire(request) != nil || r.s.member.Requests.Gate().State().Enabled {
		return nil, false
	}
	ttl, revision, ok := r.s.member.Leases.RenewAtOnce(req.id)
	if !ok {
		return nil, false
	}
	r.s.meters.LeasesRenewed.Inc()
	r.m.Received.Inc()
	r.m.Sent.Inc()
	resp := renewalResponse{header: r.s.header(revision), id: req.id, ttl: ttl}
	response, err := resp.AppendWire(dst)
	return response, err == nil
}

// Serve implements grpcserver.Messages.
func (r *Renewals) Serve(stream grpc.ServerStream) error {
	return r.s.renewArrived(&meteredServerStream{stream, r.m})
}

// Ended implements grpcserver.Messages.
func (r *Renewals) Ended(code codes.Code) { r.m.Handled(code).Inc() }
