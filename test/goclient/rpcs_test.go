package goclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
)

// need is what a caller needs for an RPC while authentication is enabled.
type need int

const (
	anyone need = iota // also a caller without a token
	user               // any user
	theirs             // a user with permission to read and write the keys
	root               // a user with the role root
)

func (n need) String() string { return [...]string{"anyone", "user", "keys", "root"}[n] }

var secret = []byte("/secret/a")

// rpcs has the need of each RPC, with a request that would have an effect if it were allowed.
var rpcs = map[string]struct {
	need need
	req  proto.Message
}{
	"KV/Range":       {theirs, &pb.RangeRequest{Key: secret}},
	"KV/RangeStream": {theirs, &pb.RangeRequest{Key: secret}},
	"KV/Put":         {theirs, &pb.PutRequest{Key: secret}},
	"KV/DeleteRange": {theirs, &pb.DeleteRangeRequest{Key: secret}},
	"KV/Txn": {theirs, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: secret}},
	}}}}}},
	"KV/Compact":               {root, &pb.CompactionRequest{Revision: 2}},
	"Watch/Watch":              {theirs, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: secret}}}},
	"Lease/LeaseGrant":         {user, &pb.LeaseGrantRequest{TTL: 1000}},
	"Lease/LeaseRevoke":        {user, &pb.LeaseRevokeRequest{ID: 7}},
	"Lease/LeaseKeepAlive":     {user, &pb.LeaseKeepAliveRequest{ID: 7}},
	"Lease/LeaseTimeToLive":    {user, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}},
	"Lease/LeaseLeases":        {user, &pb.LeaseLeasesRequest{}},
	"Cluster/MemberAdd":        {root, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true}},
	"Cluster/MemberRemove":     {root, &pb.MemberRemoveRequest{ID: 7}},
	"Cluster/MemberUpdate":     {root, &pb.MemberUpdateRequest{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}}},
	"Cluster/MemberList":       {user, &pb.MemberListRequest{}},
	"Cluster/MemberPromote":    {root, &pb.MemberPromoteRequest{ID: 7}},
	"Maintenance/Alarm":        {user, &pb.AlarmRequest{}}, // to list them; see also below
	"Maintenance/Status":       {user, &pb.StatusRequest{}},
	"Maintenance/Defragment":   {root, &pb.DefragmentRequest{}},
	"Maintenance/Hash":         {root, &pb.HashRequest{}},
	"Maintenance/HashKV":       {root, &pb.HashKVRequest{}},
	"Maintenance/Snapshot":     {root, &pb.SnapshotRequest{}},
	"Maintenance/MoveLeader":   {root, &pb.MoveLeaderRequest{TargetID: 7}},
	"Maintenance/Downgrade":    {root, &pb.DowngradeRequest{Version: "3.6"}},
	"Auth/AuthEnable":          {root, &pb.AuthEnableRequest{}},
	"Auth/AuthDisable":         {root, nil}, // would end the test
	"Auth/AuthStatus":          {anyone, &pb.AuthStatusRequest{}},
	"Auth/Authenticate":        {anyone, &pb.AuthenticateRequest{Name: "v3user", Password: "p3"}},
	"Auth/UserAdd":             {root, &pb.AuthUserAddRequest{Name: "new", Options: &authpb.UserAddOptions{NoPassword: true}}},
	"Auth/UserGet":             {root, &pb.AuthUserGetRequest{Name: "root"}},
	"Auth/UserList":            {root, &pb.AuthUserListRequest{}},
	"Auth/UserDelete":          {root, &pb.AuthUserDeleteRequest{Name: "v2user"}},
	"Auth/UserChangePassword":  {root, &pb.AuthUserChangePasswordRequest{Name: "v2user", Password: "x"}},
	"Auth/UserGrantRole":       {root, &pb.AuthUserGrantRoleRequest{User: "v3user", Role: "app"}},
	"Auth/UserRevokeRole":      {root, &pb.AuthUserRevokeRoleRequest{Name: "v3user", Role: "app"}},
	"Auth/RoleAdd":             {root, &pb.AuthRoleAddRequest{Name: "new"}},
	"Auth/RoleGet":             {root, &pb.AuthRoleGetRequest{Role: "app"}},
	"Auth/RoleList":            {root, &pb.AuthRoleListRequest{}},
	"Auth/RoleDelete":          {root, &pb.AuthRoleDeleteRequest{Role: "other"}},
	"Auth/RoleGrantPermission": {root, &pb.AuthRoleGrantPermissionRequest{Name: "pub", Perm: &authpb.Permission{Key: secret}}},
	"Auth/RoleRevokePermission": {
		root, &pb.AuthRoleRevokePermissionRequest{Role: "pub", Key: []byte("/pub/"), RangeEnd: []byte("/pub0")},
	},
	"Lock/Lock":         {theirs, &v3lockpb.LockRequest{Name: secret, Lease: 7}},
	"Lock/Unlock":       {theirs, &v3lockpb.UnlockRequest{Key: secret}},
	"Election/Campaign": {theirs, &v3electionpb.CampaignRequest{Name: secret, Lease: 7, Value: []byte("v")}},
	"Election/Proclaim": {theirs, &v3electionpb.ProclaimRequest{Leader: &v3electionpb.LeaderKey{Name: secret, Key: secret, Rev: 4, Lease: 7}, Value: []byte("v")}},
	"Election/Leader":   {theirs, &v3electionpb.LeaderRequest{Name: secret}},
	"Election/Observe":  {theirs, &v3electionpb.LeaderRequest{Name: secret}},
	"Election/Resign":   {theirs, &v3electionpb.ResignRequest{Leader: &v3electionpb.LeaderKey{Name: secret, Key: secret, Rev: 4, Lease: 7}}},
}

// TestEveryRPCIsGuarded calls every published RPC without a token, with an unknown token, and as a
// user who lacks the permission.
func TestEveryRPCIsGuarded(t *testing.T) {
	f := guarded(t)
	conn, err := grpc.NewClient(f.server.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close() //nolint:errcheck // the test is over
	token := f.token("v3user", "p3")
	before := f.as("root", "rp").get("\x00", clientv3.WithFromKey())
	found := 0
	for _, file := range []protoreflect.FileDescriptor{pb.File_rpc_proto, v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				name := string(service.Name()) + "/" + string(m.Name())
				c, known := rpcs[name]
				if !known {
					t.Errorf("%s has no line in this test", name)
					continue
				}
				if found++; c.req == nil {
					continue
				}
				call := func(token string) error {
					return callRaw(f.ctx, conn, fmt.Sprintf("/%s/%s", service.FullName(), m.Name()), m, c.req, token)
				}
				if says(call(""), codes.Unimplemented, "unknown method") {
					continue // docs/compatibility.md says so
				}
				checkWithoutToken(t, name, c.need, call(""))
				if got := call("unknown"); c.need != anyone && !says(got, codes.Unauthenticated, "invalid auth token") {
					t.Errorf("%s by an unknown token: %v", name, got)
				}
				got := call(token)
				if denied := says(got, codes.PermissionDenied, "permission denied"); denied != (c.need > user) {
					t.Errorf("%s, which needs %v, by a user without permission: %v", name, c.need, got)
				}
			}
		}
	}
	if found != len(rpcs) {
		t.Errorf("%d RPCs are published, %d are in this test", found, len(rpcs))
	}
	for _, action := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE} {
		_, err := pb.NewMaintenanceClient(conn).Alarm(f.with(token), &pb.AlarmRequest{Action: action, Alarm: pb.AlarmType_NOSPACE})
		if !says(err, codes.PermissionDenied, "permission denied") {
			t.Errorf("alarm %v by a user: %v", action, err)
		}
	}
	after := f.as("root", "rp").get("\x00", clientv3.WithFromKey())
	if fmt.Sprint(before.Kvs) != fmt.Sprint(after.Kvs) {
		t.Errorf("what was refused has changed keys: %v became %v", before.Kvs, after.Kvs)
	}
}

// checkWithoutToken checks the result of a call without a token.
func checkWithoutToken(t *testing.T, name string, n need, got error) {
	t.Helper()
	if refused := says(got, codes.InvalidArgument, "user name is empty"); refused != (n != anyone) {
		t.Errorf("%s, which needs %v, without a token: %v", name, n, got)
	}
}

func says(err error, code codes.Code, text string) bool {
	return status.Code(err) == code && strings.Contains(status.Convert(err).Message(), text)
}

// callRaw makes a call without the client library: it sends one request and returns the error of
// the first response, if any.
func callRaw(ctx context.Context, conn *grpc.ClientConn, method string, m protoreflect.MethodDescriptor, req proto.Message, token string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); !m.IsStreamingClient() && err != nil {
		return err
	}
	resp := dynamicpb.NewMessage(m.Output())
	if err := stream.RecvMsg(resp); err != nil {
		return err
	}
	// A watch is refused within its stream.
	if w := resp.Interface(); m.Name() == "Watch" {
		reason := resp.Get(m.Output().Fields().ByName("cancel_reason")).String()
		switch {
		case strings.Contains(reason, "permission denied"):
			return status.Error(codes.PermissionDenied, reason)
		case strings.Contains(reason, "user name is empty"):
			return status.Error(codes.InvalidArgument, reason)
		case strings.Contains(reason, "invalid auth token"):
			return status.Error(codes.Unauthenticated, reason)
		case reason != "":
			return fmt.Errorf("%v: %s", w, reason)
		}
	}
	return nil
}
