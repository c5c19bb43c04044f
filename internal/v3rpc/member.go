package v3rpc

import (
	"context"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/watch"
)

// Member is the served member, as one small interface per topic. member.Member implements all of
// them and documents their methods.
type Member struct {
	Requests Requests
	Role     Role
	Space    Space
	Leases   Leases
	Watches  Watches
	Cluster  Cluster
	State    State
	Users    Users
}

// Requests is for every service: reading, proposing, and identifying callers.
type Requests interface {
	Keys() *mvcc.Store
	// WaitLinearizable returns when a read that starts afterwards is linearizable.
	WaitLinearizable(ctx context.Context) error
	// Propose returns when a command has been applied.
	Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
	// RaftStatus returns the position in the headers of responses.
	RaftStatus() (appliedIndex, term uint64)
	// Gate authenticates users.
	Gate() *auth.Gate
}

// Role decides which calls are admitted.
type Role interface {
	Leader() uint64
	IsLearner() bool
	// LeaderLost returns a channel that is closed once the member has been without a leader for so
	// long that clients which require one are disconnected.
	LeaderLost() <-chan struct{}
}

// Space is the size of the store and its limit.
type Space interface {
	// CheckSpace returns an error while writes that add data are refused.
	CheckSpace() error
	// WaitSwept returns when compacted data has been removed.
	WaitSwept(ctx context.Context) error
	// StateBytes returns the size of the state's files, and how much of it is in use.
	StateBytes() (disk, inUse int64)
	// QuotaBytes returns the size that raises an alarm; 0 means none.
	QuotaBytes() int64
}

// Leases is for the lease service, in addition to Requests.
type Leases interface {
	// ClusterTime returns the current cluster time, by which leases expire.
	ClusterTime() kv.ClusterTime
	// RenewLeases stores the TTL of each lease, in seconds, or 0 if it does not exist, and returns
	// the revision at which that was so. auth.OldRevision is returned as by Propose.
	RenewLeases(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error)
	// RenewAtOnce renews a lease, or reports false if it would have to wait.
	RenewAtOnce(id kv.LeaseID) (ttl, revision int64, ok bool)
	// Deadline returns when a lease that was read from Keys ends unless it is renewed.
	Deadline(ctx context.Context, now kv.ClusterTime, l *lease.Lease) kv.ClusterTime
}

// Watches is for watches, locks and elections, in addition to Requests.
type Watches interface {
	Watches() *watch.Hub
}

// Cluster changes the members.
type Cluster interface {
	// Members returns the members, sorted by ID.
	Members() []membership.Member
	AddMember(ctx context.Context, peerURLs []string, learner bool) (membership.Member, error)
	UpdatePeerURLs(ctx context.Context, id uint64, peerURLs []string) error
	RemoveMember(ctx context.Context, id uint64) error
	PromoteMember(ctx context.Context, id uint64) error
	MoveLeader(ctx context.Context, to uint64) error
}

// State is the state as a whole: its alarms, checksums, snapshot and migration.
type State interface {
	Alarms() *alarm.State
	ChangeAlarm(ctx context.Context, c *alarm.Command) ([]alarm.Alarm, error)
	HashState(ctx context.Context) (sum uint32, revision int64, err error)
	HashKV(ctx context.Context, revision int64) (mvcc.Hash, error)
	Snapshot() (*snapshot.Source, error)
	// Migration returns the progress of a migration from another cluster.
	Migration() *migration.State
}

// Users is users and roles.
type Users interface {
	// Login returns a token for a user's password.
	Login(ctx context.Context, name, password string) (token string, err error)
	ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error)
}
