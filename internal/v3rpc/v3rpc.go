// Package v3rpc serves etcd's v3 gRPC services from a member.
//
// It owns the validation of requests, the translation between the wire and the
// operations of mvcc, and the one table of wire errors (errors.go). The messages of
// the hot calls are decoded and encoded by hand (wire.go), straight between the bytes
// of the connection and those of the store: a put is copied once, into the command
// that goes to the log; a list is encoded while the iterator walks. The transport must
// know the interfaces that these messages implement (package grpcserver's WireAppender and
// WireUnmarshaler); the rest are the published protobuf messages.
//
// It keeps no state; everything is safe for concurrent use.
package v3rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/watch"
)

// Member is what the services need of the member that they serve.
type Member interface {
	// Propose has a command applied. See member.Member.
	Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
	// WaitLinearizable returns when a read begun afterwards is linearizable.
	WaitLinearizable(ctx context.Context) error
	// CheckSpace returns an error when writes that add data are refused.
	CheckSpace() error
	// WaitSwept returns when compacted data has been removed.
	WaitSwept(ctx context.Context) error
	Keys() *mvcc.Store
	// ClusterTime returns the present cluster time, which leases end by.
	ClusterTime() kv.ClusterTime
	Watches() *watch.Hub
	RaftStatus() (appliedIndex, term uint64)
	Leader() uint64
	// StateBytes returns the size of the state's files, and how much of that is in use.
	StateBytes() (disk, inUse int64)
	// QuotaBytes returns the size that raises an alarm; 0 is none.
	QuotaBytes() int64
	// Alarms returns the alarms of the cluster.
	Alarms() *alarm.State
	// ChangeAlarm has a command on alarms applied. See member.Member.
	ChangeAlarm(ctx context.Context, c *alarm.Command) ([]alarm.Alarm, error)
	Err() error
	// Members returns the members in the order of their IDs.
	Members() []membership.Member
	// UpdatePeerURLs gives a member other peer URLs. See member.Member for this and the following.
	UpdatePeerURLs(ctx context.Context, id uint64, peerURLs []string) error
	AddMember(ctx context.Context, peerURLs []string, learner bool) (membership.Member, error)
	RemoveMember(ctx context.Context, id uint64) error
	PromoteMember(ctx context.Context, id uint64) error
	MoveLeader(ctx context.Context, to uint64) error
	// IsLearner reports whether this member has no vote.
	IsLearner() bool
	// LeaderLost returns a channel that is closed when the member has been without a leader for so
	// long that clients which asked to be told are told.
	LeaderLost() <-chan struct{}
	// HashState and HashKV return checksums. See member.Member.
	HashState(ctx context.Context) (sum uint32, revision int64, err error)
	HashKV(ctx context.Context, revision int64) (mvcc.Hash, error)
	// Snapshot returns the stream of the whole state. See member.Member.
	Snapshot() (*snapshot.Source, error)
	// Gate tells who somebody is, and what they may do.
	Gate() *auth.Gate
	// Login gives out a token to who knows a user's password.
	Login(ctx context.Context, name, password string) (token string, err error)
	// ChangeAuth has a command about users and roles applied.
	ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error)
}

// Config says who answers and within which limits.
type Config struct {
	ClusterID uint64
	MemberID  uint64
	TxnOpsMax int // --max-txn-ops

	// LeaseTTLMin is the least TTL, in seconds; a shorter one is raised to it.
	LeaseTTLMin int64

	RequestBytesMax int // --max-request-bytes; answers of watches are split there on demand
	// WatchProgressInterval is how long a watch that asked to be notified of progress is
	// left without an answer; 0 means etcd's 10 minutes.
	WatchProgressInterval time.Duration
}

// Register gives the services to a gRPC server. Their calls are counted in meters.
func Register(r grpc.ServiceRegistrar, m Member, meters *metrics.Metrics, cfg Config) {
	if cfg.WatchProgressInterval <= 0 {
		cfg.WatchProgressInterval = watchProgressInterval
	}
	s := &server{member: m, meters: meters, cfg: cfg, hashing: make(chan struct{}, 1), snapshots: make(chan struct{}, snapshotsMax)}
	for _, desc := range []*grpc.ServiceDesc{&kvService, &clusterService, &maintenanceService, &authService, &watchService, &leaseService, &lockService, &electionService} {
		r.RegisterService(metered(admitted(desc), meters), s)
	}
}

type server struct {
	member Member
	meters *metrics.Metrics
	cfg    Config

	hashing   chan struct{} // has a token while a hash is being made
	snapshots chan struct{} // has a token for each that is being sent
}

// header returns the header of an answer at a revision.
func (s *server) header(revision int64) header {
	_, term := s.member.RaftStatus()
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
			return finish(method(srv.(*server), ctx, req))
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: full}
		return intercept(ctx, req, info, func(ctx context.Context, req any) (any, error) {
			return finish(method(srv.(*server), ctx, req.(*Req)))
		})
	}
}

// finish translates an error to the wire.
func finish(resp any, err error) (any, error) {
	if err != nil {
		return nil, wireError(err)
	}
	return resp, nil
}
