package v3rpc

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/membership"
)

// clusterService is etcdserverpb.Cluster. What comes and goes is refused, once the
// request is found to be right.
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
		if err := s.member.WaitLinearizable(ctx); err != nil {
			return nil, err
		}
	}
	return &etcdserverpb.MemberListResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *server) memberAdd(ctx context.Context, req *etcdserverpb.MemberAddRequest) (any, error) {
	if err := s.asRoot(ctx, nothing); err != nil {
		return nil, err
	}
	urls, err := peerURLs(req.PeerURLs)
	if err != nil {
		return nil, err
	}
	if err := membership.CheckPeerURLs(s.member.Members(), 0, urls); err != nil {
		return nil, err
	}
	return nil, membership.ErrFixed
}

func (s *server) memberRemove(ctx context.Context, req *etcdserverpb.MemberRemoveRequest) (any, error) {
	if err := s.asRoot(ctx, nothing); err != nil {
		return nil, err
	}
	members := s.member.Members()
	if _, ok := membership.Find(members, req.ID); !ok {
		return nil, membership.ErrNotFound
	}
	if len(members) == 1 {
		return nil, membership.ErrOnlyMember
	}
	return nil, membership.ErrFixed
}

func (s *server) memberUpdate(ctx context.Context, req *etcdserverpb.MemberUpdateRequest) (any, error) {
	if _, err := peerURLs(req.PeerURLs); err != nil { // etcd takes anything here
		return nil, err
	}
	// As in etcd the URLs stay in the order that they are given in.
	err := s.asRoot(ctx, func(ctx context.Context) error { return s.member.UpdatePeerURLs(ctx, req.ID, req.PeerURLs) })
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.MemberUpdateResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *server) memberPromote(ctx context.Context, req *etcdserverpb.MemberPromoteRequest) (any, error) {
	if err := s.asRoot(ctx, nothing); err != nil {
		return nil, err
	}
	m, ok := membership.Find(s.member.Members(), req.ID)
	switch {
	case !ok:
		return nil, membership.ErrNotFound
	case !m.Learner:
		return nil, rpctypes.ErrGRPCMemberNotLearner
	default:
		return nil, membership.ErrFixed
	}
}

// nothing is what is done yet of what would need the role root.
func nothing(context.Context) error { return nil }

// peerURLs checks what a request gives as peer URLs.
func peerURLs(texts []string) ([]string, error) {
	urls, err := membership.ParseURLs(texts)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	return urls, nil
}

// clusterHeader returns the header of answers about members. As in etcd they have no
// revision.
func (s *server) clusterHeader() *etcdserverpb.ResponseHeader { return s.header(0).proto() }

func (s *server) members() []*etcdserverpb.Member {
	members := s.member.Members()
	list := make([]*etcdserverpb.Member, len(members))
	for i := range members {
		m := &members[i]
		list[i] = &etcdserverpb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner,
		}
	}
	return list
}
