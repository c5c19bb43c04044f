// Package v3rpc serves etcd's v3 gRPC services from a member.
//
// It owns the validation of requests, the translation between the wire and the operations of mvcc,
// and the one table of wire errors (errors.go). The messages of the hot calls are decoded and
// encoded by hand-written code (wire.go), directly between the bytes of the connection and those of
// the store: a put is copied once, into the command for the log; a list is encoded while the
// iterator walks. The transport must support the interfaces of these messages (package grpcserver's
// WireAppender and WireUnmarshaler); the rest are the published protobuf messages.
//
// It keeps no state; everything is safe for concurrent use.
package v3rpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"cairn/internal/member"
	"cairn/internal/metrics"
	"cairn/internal/tracing"
	"cairn/internal/watch"
)

// Config is the identity of the member and the limits of requests.
type Config struct {
	ClusterID uint64
	MemberID  uint64
	TxnOpsMax int // --max-txn-ops

	// LeaseTTLMin is the minimum TTL, in seconds; a shorter one is raised to it.
	LeaseTTLMin int64

	// ClientCertAuth makes the common name of a client's certificate its user, for calls over gRPC
	// without a token.
	ClientCertAuth bool

	RequestBytesMax int // --max-request-bytes; responses of watches are split at it on request
	// WatchProgressInterval is the time without a response after which a watch that requested
	// progress notifications gets one; 0 means etcd's 10 minutes.
	WatchProgressInterval time.Duration

	// SlowRequest is the duration above which a unary call is logged;
	// --warning-unary-request-duration.
	SlowRequest time.Duration
	// SlowRange is the duration above which the read of a range is logged;
	// --warning-apply-duration.
	SlowRange time.Duration
	// Logger gets slow calls; nil logs none.
	Logger *slog.Logger
	// Tracer may be nil.
	Tracer *tracing.Tracer
}

// Register registers the services with a gRPC server. Their calls are counted in meters. The result
// serves most calls of KeepAliveMethod with less effort, if the server supports it.
func Register(r grpc.ServiceRegistrar, m Member, meters *metrics.Metrics, cfg Config) *Renewals {
	if cfg.WatchProgressInterval <= 0 {
		cfg.WatchProgressInterval = watchProgressInterval
	}
	s := &server{
		member: m, meters: meters, cfg: cfg,
		hashing: make(chan struct{}, 1), longWrites: make(chan struct{}, 1),
		turnWrites: make(chan struct{}, turnWritesMax), snapshots: make(chan struct{}, snapshotsMax), snapshotStarts: newSnapshotStarts(),
		queues: queues{queues: map[string]*queue{}, linger: queueLinger},
	}
	o := observer{meters: meters, tracer: cfg.Tracer, slow: slowLog{log: cfg.Logger, limit: cfg.SlowRequest}}
	for _, desc := range []*grpc.ServiceDesc{&kvService, &clusterService, &maintenanceService, &authService, &watchService, &leaseService, &lockService, &electionService, &migrationService} {
		r.RegisterService(observed(admitted(desc), o), s)
	}
	return &Renewals{s: s, m: meters.Method(KeepAliveMethod)}
}

type server struct {
	member Member
	meters *metrics.Metrics
	cfg    Config

	hashing    chan struct{} // has a token while a hash is being computed
	longWrites chan struct{} // has a token while a command that takes long is in the log
	snapshots  chan struct{} // has a token for each snapshot that is being sent
	turnWrites chan struct{} // has a token for each call that writes for a turn in a queue
	queues     queues
	// snapshotStarts paces the flushes with which snapshots begin.
	snapshotStarts *snapshotStarts
	expectation    watch.Expectation // of watch streams
}

// header returns the header of a response at a revision.
func (s *server) header(revision int64) header {
	_, term := s.member.Requests.RaftStatus()
	return header{clusterID: s.cfg.ClusterID, memberID: s.cfg.MemberID, revision: revision, term: term}
}

// call adapts a method that takes and returns messages to grpc's MethodHandler,
// without the generated code's fixed message types.
func call[Req any](full string, method func(*server, context.Context, *Req) (any, error)) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		req := new(Req)
		if err := dec(req); err != nil {
			return nil, err
		}
		if intercept == nil {
			resp, err := method(srv.(*server), ctx, req)
			return finish(ctx, resp, err)
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: full}
		return intercept(ctx, req, info, func(ctx context.Context, req any) (any, error) {
			resp, err := method(srv.(*server), ctx, req.(*Req))
			return finish(ctx, resp, err)
		})
	}
}

// callOnce is call for a method that makes at most one change, and nothing after it: if the member
// refuses that as not executed, the call has not been executed.
func callOnce[Req any](full string, method func(*server, context.Context, *Req) (any, error)) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return call(full, func(s *server, ctx context.Context, req *Req) (any, error) {
		resp, err := method(s, ctx, req)
		if errors.Is(err, member.ErrRemoved) {
			err = unexecuted{WireError(err)}
		}
		return resp, err
	})
}

// finish converts an error to the wire, and counts a long response that does not count already.
func finish(ctx context.Context, resp any, err error) (any, error) {
	if err != nil {
		return nil, WireError(err)
	}
	if m, ok := resp.(proto.Message); ok {
		return holdMessage(ctx, m)
	}
	return resp, nil
}
