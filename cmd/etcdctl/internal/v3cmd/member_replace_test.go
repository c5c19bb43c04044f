package v3cmd

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"cairn/cmd/etcdctl/internal/cli"
)

// mute is a cluster that makes changes of its members, or loses them, without a response to the
// first attempt.
type mute struct {
	etcdserverpb.UnimplementedClusterServer
	loses bool // the first change of each kind
	err   error

	mu                  sync.Mutex // guards the fields below
	members             []*etcdserverpb.Member
	additions, removals int
}

func (c *mute) MemberList(context.Context, *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &etcdserverpb.MemberListResponse{Members: slices.Clone(c.members)}, nil
}

func (c *mute) MemberAdd(_ context.Context, r *etcdserverpb.MemberAddRequest) (*etcdserverpb.MemberAddResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.additions++
	if c.additions == 1 && c.loses {
		return nil, c.err
	}
	for _, m := range c.members {
		if slices.Equal(m.PeerURLs, r.PeerURLs) {
			return nil, rpctypes.ErrGRPCPeerURLExist
		}
	}
	learner := &etcdserverpb.Member{ID: 100 + uint64(c.additions), PeerURLs: r.PeerURLs, IsLearner: r.IsLearner}
	c.members = append(c.members, learner)
	if c.additions == 1 {
		return nil, c.err
	}
	return &etcdserverpb.MemberAddResponse{Member: learner, Members: slices.Clone(c.members)}, nil
}

func (c *mute) MemberRemove(_ context.Context, r *etcdserverpb.MemberRemoveRequest) (*etcdserverpb.MemberRemoveResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removals++
	if c.removals == 1 && c.loses {
		return nil, c.err
	}
	i := slices.IndexFunc(c.members, func(m *etcdserverpb.Member) bool { return m.ID == r.ID })
	if i < 0 {
		return nil, rpctypes.ErrGRPCMemberNotFound
	}
	c.members = slices.Delete(slices.Clone(c.members), i, i+1)
	if c.removals == 1 {
		return nil, c.err
	}
	return &etcdserverpb.MemberRemoveResponse{}, nil
}

// TestReplaceWithoutResponse: member replace continues after a removal and an addition whose
// requests had no response, whether or not they were executed, and adds one learner.
func TestReplaceWithoutResponse(t *testing.T) {
	for name, failure := range map[string]error{
		"time-out of the cluster": rpctypes.ErrGRPCTimeout,
		"time-out of the client":  grpcstatus.Error(codes.DeadlineExceeded, "context deadline exceeded"),
		"lost leader":             rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		"stopped member":          rpctypes.ErrGRPCStopped,
	} {
		for _, loses := range []bool{false, true} {
			cluster := &mute{loses: loses, err: failure, members: []*etcdserverpb.Member{
				{ID: 1, Name: "n1", PeerURLs: []string{"http://127.0.0.1:1"}},
				{ID: 2, Name: "n2", PeerURLs: []string{"http://127.0.0.1:2"}},
			}}
			r := replacementOf(t, cluster)
			if err := r.removeByID(2); err != nil {
				t.Errorf("%s, lost %v: remove: %v", name, loses, err)
			}
			learner, members, err := r.add()
			if err != nil {
				t.Errorf("%s, lost %v: add: %v", name, loses, err)
				continue
			}
			if len(members) != 2 || members[1].ID != learner.ID || !learner.IsLearner || len(cluster.members) != 2 {
				t.Errorf("%s, lost %v: learner %v among %v", name, loses, learner, members)
			}
		}
	}
}

// replacementOf returns a replacement of n2 in a cluster.
func replacementOf(t *testing.T, cluster *mute) *replacement {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterClusterServer(server, cluster)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{l.Addr().String()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Duration("command-timeout", time.Minute, "")
	return &replacement{
		s: &cli.Session{Context: t.Context(), Out: new(bytes.Buffer), Flags: flags},
		c: c, name: "n2", urls: []string{"http://127.0.0.1:2"},
	}
}
