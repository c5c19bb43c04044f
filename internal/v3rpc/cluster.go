package v3rpc

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/membership"
)

// clusterService is etcdserverpb.Cluster.
var clusterService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Cluster_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Cluster_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "MemberAdd", Handler: call(etcdserverpb.Cluster_MemberAdd_FullMethodName, (*server).memberAdd)},
		{MethodName: "MemberRemove", Handler: call(etcdserverpb.Cluster_MemberRemove_FullMethodName, (*server).memberRemove)},
		{MethodName: "MemberUpdate", Handler: call(etcdserverpb.Cluster_MemberUpdate_FullMethodName, (*server).memberUpdate)},
		{MethodName: "MemberList", Handler: call(etcdserverpb.Cluster_MemberList_FullMethodName, (*server).memberList)},
		{MethodName: "MemberPromote", Handler: call(etcdserverpb.Cluster_MemberPromote_FullMethodName, (*server).memberPromote)},
	},
}

func (s *server) memberList(ctx context.Context, req *etcdserverpb.MemberListRequest) (any, error) {
	if req.Linearizable {
		if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := s.identify(ctx); err != nil { // any user, but not without a token
		return nil, err
	}
	return &etcdserverpb.MemberListResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *server) memberAdd(ctx context.Context, req *etcdserverpb.MemberAddRequest) (any, error) {
	urls, err := peerURLs(req.PeerURLs)
	if err != nil {
		return nil, err
	}
	var added membership.Member
	err = s.asRoot(ctx, func(ctx context.Context) error {
		added, err = s.member.Cluster.AddMember(ctx, urls, req.IsLearner)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MemberAddResponse{Header: s.clusterHeader(), Member: memberOnWire(&added), Members: s.members()}, nil
}

func (s *server) memberRemove(ctx context.Context, req *etcdserverpb.MemberRemoveRequest) (any, error) {
	err := s.asRoot(ctx, func(ctx context.Context) error { return s.member.Cluster.RemoveMember(ctx, req.ID) })
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MemberRemoveResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *server) memberUpdate(ctx context.Context, req *etcdserverpb.MemberUpdateRequest) (any, error) {
	if _, err := peerURLs(req.PeerURLs); err != nil { // etcd does not check them here
		return nil, err
	}
	// As in etcd the URLs stay in the given order.
	err := s.asRoot(ctx, func(ctx context.Context) error { return s.member.Cluster.UpdatePeerURLs(ctx, req.ID, req.PeerURLs) })
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MemberUpdateResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *server) memberPromote(ctx context.Context, req *etcdserverpb.MemberPromoteRequest) (any, error) {
	err := s.asRoot(ctx, func(ctx context.Context) error { return s.member.Cluster.PromoteMember(ctx, req.ID) })
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MemberPromoteResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

// moveLeader is Maintenance.MoveLeader.
func (s *server) moveLeader(ctx context.Context, req *etcdserverpb.MoveLeaderRequest) (any, error) {
	err := s.asRoot(ctx, func(ctx context.Context) error { return s.member.Cluster.MoveLeader(ctx, req.TargetID) })
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MoveLeaderResponse{Header: s.clusterHeader()}, nil
}

// peerURLs checks the peer URLs in a request.
func peerURLs(texts []string) ([]string, error) {
	urls, err := membership.ParseURLs(texts)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	return urls, nil
}

// clusterHeader returns the header of responses about members. As in etcd they have no revision.
func (s *server) clusterHeader() *etcdserverpb.ResponseHeader { return s.header(0).proto() }

func (s *server) members() []*etcdserverpb.Member {
	members := s.member.Cluster.Members()
	list := make([]*etcdserverpb.Member, len(members))
	for i := range members {
		list[i] = memberOnWire(&members[i])
	}
	return list
}

func memberOnWire(m *membership.Member) *etcdserverpb.Member {
	return &etcdserverpb.Member{
		ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner,
	}
}
