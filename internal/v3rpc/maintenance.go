package v3rpc

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"cairn/internal/version"
)

// maintenanceService is etcdserverpb.Maintenance, as far as it is there.
var maintenanceService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Maintenance_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Maintenance_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "MoveLeader", Handler: call(etcdserverpb.Maintenance_MoveLeader_FullMethodName, (*server).moveLeader)},
		{MethodName: "Status", Handler: call(etcdserverpb.Maintenance_Status_FullMethodName, (*server).status)},
	},
}

func (s *server) status(context.Context, *etcdserverpb.StatusRequest) (any, error) {
	applied, term := s.member.RaftStatus()
	size := s.member.StateBytes()
	resp := &etcdserverpb.StatusResponse{
		Header:           s.header(s.member.Keys().Head().Revision).proto(),
		Version:          version.API,
		DbSize:           size,
		DbSizeInUse:      size,
		Leader:           s.member.Leader(),
		RaftIndex:        applied,
		RaftTerm:         term,
		RaftAppliedIndex: applied,
	}
	if resp.Leader == 0 {
		resp.Errors = append(resp.Errors, "etcdserver: no leader")
	}
	if err := s.member.CheckSpace(); err != nil {
		resp.Errors = append(resp.Errors, wireError(err).Error())
	}
	return resp, nil
}
