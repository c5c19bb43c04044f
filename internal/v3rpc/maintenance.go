package v3rpc

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/alarm"
	"cairn/internal/version"
)

// maintenanceService is etcdserverpb.Maintenance.
var maintenanceService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Maintenance_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Maintenance_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "MoveLeader", Handler: call(etcdserverpb.Maintenance_MoveLeader_FullMethodName, (*server).moveLeader)},
		{MethodName: "Alarm", Handler: call(etcdserverpb.Maintenance_Alarm_FullMethodName, (*server).alarm)},
		{MethodName: "Status", Handler: call(etcdserverpb.Maintenance_Status_FullMethodName, (*server).status)},
		{MethodName: "Defragment", Handler: call(etcdserverpb.Maintenance_Defragment_FullMethodName, (*server).defragment)},
		{MethodName: "Hash", Handler: call(etcdserverpb.Maintenance_Hash_FullMethodName, (*server).hash)},
		{MethodName: "HashKV", Handler: call(etcdserverpb.Maintenance_HashKV_FullMethodName, (*server).hashKV)},
		{MethodName: "Downgrade", Handler: call(etcdserverpb.Maintenance_Downgrade_FullMethodName, (*server).downgrade)},
	},
	Streams: []grpc.StreamDesc{{StreamName: "Snapshot", Handler: snapshotStream, ServerStreams: true}},
}

// checkRoot permits calls that need the role root and change nothing.
func (s *server) checkRoot(ctx context.Context) error {
	return s.asRoot(ctx, func(context.Context) error { return nil })
}

// status serves Maintenance.Status, to any user: clients and health checks call it.
func (s *server) status(ctx context.Context, _ *etcdserverpb.StatusRequest) (any, error) {
	if _, err := s.identify(ctx); err != nil {
		return nil, err
	}
	applied, term := s.member.Requests.RaftStatus()
	size, inUse := s.member.Space.StateBytes()
	resp := &etcdserverpb.StatusResponse{
		Header:           s.header(s.member.Requests.Keys().Head().Revision).proto(),
		Version:          version.API,
		DbSize:           size,
		DbSizeInUse:      inUse,
		DbSizeQuota:      s.member.Space.QuotaBytes(),
		Leader:           s.member.Role.Leader(),
		RaftIndex:        applied,
		RaftTerm:         term,
		RaftAppliedIndex: applied,
		IsLearner:        s.member.Role.IsLearner(),
		StorageVersion:   version.Cluster,
		DowngradeInfo:    &etcdserverpb.DowngradeInfo{},
	}
	if resp.Leader == 0 {
		resp.Errors = append(resp.Errors, rpctypes.ErrNoLeader.Error())
	}
	for _, a := range s.member.State.Alarms().List(alarm.None) {
		// As etcd 3.4 to 3.6 print the message, including the blank at the end.
		resp.Errors = append(resp.Errors, fmt.Sprintf("memberID:%d alarm:%v ", a.Member, a.Kind))
	}
	return resp, nil
}

// defragment serves Maintenance.Defragment. It has nothing to do: the store frees the space of
// deleted data in the background. As in etcd the response has no header.
func (s *server) defragment(ctx context.Context, _ *etcdserverpb.DefragmentRequest) (any, error) {
	if err := s.checkRoot(ctx); err != nil {
		return nil, err
	}
	return &etcdserverpb.DefragmentResponse{}, nil
}

// alarm lists and changes the alarms. Any user may list them; health checks do.
func (s *server) alarm(ctx context.Context, req *etcdserverpb.AlarmRequest) (any, error) {
	kind := alarm.Kind(req.Alarm)
	if req.Alarm < 0 || req.Alarm > etcdserverpb.AlarmType(alarm.Corrupt) {
		return nil, invalid("unknown alarm %d: want NOSPACE or CORRUPT", req.Alarm)
	}
	switch req.Action {
	case etcdserverpb.AlarmRequest_GET:
		return s.alarms(ctx, kind)
	case etcdserverpb.AlarmRequest_ACTIVATE:
		return s.changeAlarm(ctx, &alarm.Command{Action: alarm.Activate, Kind: kind, Member: req.MemberID})
	case etcdserverpb.AlarmRequest_DEACTIVATE:
		return s.changeAlarm(ctx, &alarm.Command{Action: alarm.Deactivate, Kind: kind, Member: req.MemberID})
	default:
		return nil, invalid("unknown alarm action %d: want GET, ACTIVATE or DEACTIVATE", req.Action)
	}
}

func (s *server) alarms(ctx context.Context, kind alarm.Kind) (any, error) {
	if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	var found []alarm.Alarm
	err := s.read(ctx, anyUser, func() error {
		found = s.member.State.Alarms().List(kind)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.alarmResponse(found), nil
}

// changeAlarm raises or clears an alarm. As in etcd, it does nothing for the kind NONE.
func (s *server) changeAlarm(ctx context.Context, c *alarm.Command) (any, error) {
	var changed []alarm.Alarm
	err := s.asRoot(ctx, func(ctx context.Context) (err error) {
		if c.Kind != alarm.None {
			changed, err = s.member.State.ChangeAlarm(ctx, c)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.alarmResponse(changed), nil
}

func (s *server) alarmResponse(alarms []alarm.Alarm) *etcdserverpb.AlarmResponse {
	resp := &etcdserverpb.AlarmResponse{Header: s.header(s.member.Requests.Keys().Head().Revision).proto()}
	for _, a := range alarms {
		resp.Alarms = append(resp.Alarms, &etcdserverpb.AlarmMember{MemberID: a.Member, Alarm: etcdserverpb.AlarmType(a.Kind)})
	}
	return resp
}
