package goclient

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
	"cairn/test/harness"
)

// headed are the calls of TestHeaders, in order, and the increment of the revision by each.
var headed = []struct {
	method string
	moves  int64
	req    proto.Message
}{
	{"KV/Put", 1, &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")}},
	{"KV/Range", 0, &etcdserverpb.RangeRequest{Key: []byte("k")}},
	{"KV/Txn", 1, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestPut{
		RequestPut: &etcdserverpb.PutRequest{Key: []byte("k")},
	}}}}},
	{"KV/DeleteRange", 1, &etcdserverpb.DeleteRangeRequest{Key: []byte("k")}},
	{"KV/Compact", 0, &etcdserverpb.CompactionRequest{Revision: 2}},
	{"Lease/LeaseGrant", 0, &etcdserverpb.LeaseGrantRequest{ID: 7, TTL: 100}},
	{"Lease/LeaseTimeToLive", 0, &etcdserverpb.LeaseTimeToLiveRequest{ID: 7}},
	{"Lease/LeaseLeases", 0, &etcdserverpb.LeaseLeasesRequest{}},
	{"Lock/Lock", 1, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 7}},
	{"Lock/Unlock", 1, &v3lockpb.UnlockRequest{Key: []byte("l/7")}},
	{"Election/Campaign", 1, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: 7}},
	{"Election/Leader", 0, &v3electionpb.LeaderRequest{Name: []byte("e")}},
	{"Election/Proclaim", 1, &v3electionpb.ProclaimRequest{}},
	{"Election/Resign", 1, &v3electionpb.ResignRequest{}},
	{"Lease/LeaseRevoke", 0, &etcdserverpb.LeaseRevokeRequest{ID: 7}},
	{"Cluster/MemberList", 0, &etcdserverpb.MemberListRequest{}},
	{"Cluster/MemberUpdate", 0, &etcdserverpb.MemberUpdateRequest{}},
	{"Maintenance/Alarm", 0, &etcdserverpb.AlarmRequest{}},
	{"Maintenance/Status", 0, &etcdserverpb.StatusRequest{}},
	{"Maintenance/Defragment", 0, &etcdserverpb.DefragmentRequest{}},
	{"Maintenance/Hash", 0, &etcdserverpb.HashRequest{}},
	{"Maintenance/HashKV", 0, &etcdserverpb.HashKVRequest{}},
	{"Auth/AuthStatus", 0, &etcdserverpb.AuthStatusRequest{}},
	{"Auth/UserAdd", 0, &etcdserverpb.AuthUserAddRequest{Name: "root", Password: "pw"}},
	{"Auth/RoleAdd", 0, &etcdserverpb.AuthRoleAddRequest{Name: "root"}},
	{"Auth/UserGrantRole", 0, &etcdserverpb.AuthUserGrantRoleRequest{User: "root", Role: "root"}},
	{"Auth/RoleAdd", 0, &etcdserverpb.AuthRoleAddRequest{Name: "r"}},
	{"Auth/UserAdd", 0, &etcdserverpb.AuthUserAddRequest{Name: "u", Password: "pw"}},
	{"Auth/UserGrantRole", 0, &etcdserverpb.AuthUserGrantRoleRequest{User: "u", Role: "r"}},
	{"Auth/UserRevokeRole", 0, &etcdserverpb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}},
	{"Auth/UserGet", 0, &etcdserverpb.AuthUserGetRequest{Name: "u"}},
	{"Auth/UserList", 0, &etcdserverpb.AuthUserListRequest{}},
	{"Auth/UserChangePassword", 0, &etcdserverpb.AuthUserChangePasswordRequest{Name: "u", Password: "new"}},
	{"Auth/RoleGrantPermission", 0, &etcdserverpb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("k")}}},
	{"Auth/RoleGet", 0, &etcdserverpb.AuthRoleGetRequest{Role: "r"}},
	{"Auth/RoleList", 0, &etcdserverpb.AuthRoleListRequest{}},
	{"Auth/RoleRevokePermission", 0, &etcdserverpb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("k")}},
	{"Auth/UserDelete", 0, &etcdserverpb.AuthUserDeleteRequest{Name: "u"}},
	{"Auth/RoleDelete", 0, &etcdserverpb.AuthRoleDeleteRequest{Role: "r"}},
	{"Auth/AuthEnable", 0, &etcdserverpb.AuthEnableRequest{}},
	{"Auth/Authenticate", 0, &etcdserverpb.AuthenticateRequest{Name: "root", Password: "pw"}},
	{"Auth/AuthDisable", 0, &etcdserverpb.AuthDisableRequest{}},
}

// headedElsewhere are the unary calls that need more than one member, or that a single one refuses.
var headedElsewhere = []string{
	"Cluster/MemberAdd", "Cluster/MemberRemove", "Cluster/MemberPromote", "Maintenance/MoveLeader", "Maintenance/Downgrade",
}

// published are the published methods.
func published() map[string]protoreflect.MethodDescriptor {
	all := map[string]protoreflect.MethodDescriptor{}
	for _, file := range []protoreflect.FileDescriptor{etcdserverpb.File_rpc_proto, v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				all[string(service.Name())+"/"+string(m.Name())] = m
			}
		}
	}
	return all
}

// TestHeaders makes every unary call that works with one member and checks its header: the cluster,
// the member, the term, and the store's current revision.
func TestHeaders(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " does not have all of these calls")
	}
	f := start(t)
	me, methods, called := f.me(), published(), map[string]bool{}
	status, err := f.Status(f.ctx, f.server.URL())
	must(t, err)
	revision, ctx := status.Header.Revision, f.ctx
	var leader *v3electionpb.LeaderKey
	for _, c := range headed {
		m := methods[c.method]
		called[c.method] = true
		switch req := c.req.(type) { // fields from earlier responses
		case *v3electionpb.ProclaimRequest:
			req.Leader = leader
		case *v3electionpb.ResignRequest:
			req.Leader = leader
		case *etcdserverpb.MemberUpdateRequest:
			req.ID, req.PeerURLs = me.ID, me.PeerURLs
		}
		kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
		must(t, err)
		resp := kind.New().Interface()
		full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
		if err := f.ActiveConnection().Invoke(ctx, full, c.req, resp); err != nil {
			t.Fatalf("%s: %v", c.method, err)
		}
		revision += c.moves
		want := revision
		if strings.HasPrefix(c.method, "Cluster/") {
			want = 0 // as in etcd, responses about members have no revision
		}
		header := resp.(interface {
			GetHeader() *etcdserverpb.ResponseHeader
		}).GetHeader()
		if c.method == "Maintenance/Defragment" { // as in etcd
			if header != nil {
				t.Errorf("%s has the header {%v}, want none", c.method, header)
			}
			continue
		}
		if header.GetClusterId() != status.Header.ClusterId || header.GetMemberId() != me.ID || header.GetRaftTerm() != status.RaftTerm || header.GetRevision() != want {
			t.Errorf("%s has the header {%v}, want cluster %d, member %d, term %d, revision %d", c.method, header, status.Header.ClusterId, me.ID, status.RaftTerm, want)
		}
		switch resp := resp.(type) {
		case *v3electionpb.CampaignResponse:
			leader = resp.Leader
		case *etcdserverpb.AuthenticateResponse:
			ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, resp.Token)
		}
	}
	for name, m := range methods {
		if !called[name] && !m.IsStreamingServer() && !slices.Contains(headedElsewhere, name) {
			t.Errorf("%s is not called", name)
		}
	}
}

// TestStreamHeaders is TestHeaders for the calls with streams of responses.
func TestStreamHeaders(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " does not have all of these calls")
	}
	f := start(t)
	revision := f.put("k", "v")[0]
	lease := f.grant(60)
	status, err := f.Status(f.ctx, f.server.URL())
	must(t, err)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	first := func(method string, req, resp proto.Message) {
		t.Helper()
		stream, err := f.ActiveConnection().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
		must(t, err)
		must(t, stream.SendMsg(req))
		must(t, stream.CloseSend())
		must(t, stream.RecvMsg(resp))
	}
	ranged, watched, kept := &etcdserverpb.RangeStreamResponse{}, &etcdserverpb.WatchResponse{}, &etcdserverpb.LeaseKeepAliveResponse{}
	first("/etcdserverpb.KV/RangeStream", &etcdserverpb.RangeRequest{Key: []byte("k")}, ranged)
	first("/etcdserverpb.Lease/LeaseKeepAlive", &etcdserverpb.LeaseKeepAliveRequest{ID: int64(lease)}, kept)
	first("/etcdserverpb.Watch/Watch", &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte("k")},
	}}, watched)
	if kept.ID != int64(lease) || kept.TTL != 60 || !watched.Created {
		t.Errorf("responds %v, %v", kept, watched)
	}
	for name, h := range map[string]*etcdserverpb.ResponseHeader{
		"RangeStream": ranged.GetRangeResponse().GetHeader(), "Watch": watched.Header, "LeaseKeepAlive": kept.Header,
	} {
		if h.GetClusterId() != status.Header.ClusterId || h.GetMemberId() != status.Header.MemberId || h.GetRaftTerm() != status.RaftTerm || h.GetRevision() != revision {
			t.Errorf("%s has the header {%v}, want that of {%v} at %d", name, h, status.Header, revision)
		}
	}
}

// TestAuthFields writes users and roles in every possible way, and reads them back.
func TestAuthFields(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " does not report whether authentication is enabled")
	}
	f := start(t)
	raw := etcdserverpb.NewAuthClient(f.ActiveConnection())
	status := func() *etcdserverpb.AuthStatusResponse {
		t.Helper()
		resp, err := raw.AuthStatus(f.ctx, &etcdserverpb.AuthStatusRequest{})
		must(t, err)
		return resp
	}
	before := status()
	if before.Enabled || before.AuthRevision == 0 {
		t.Errorf("status at the start: %v", before)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("hashed"), bcrypt.MinCost)
	must(t, err)
	for _, req := range []*etcdserverpb.AuthUserAddRequest{
		{Name: "root", Password: "pw"},
		{Name: "hashed", HashedPassword: base64.StdEncoding.EncodeToString(hash)},
		{Name: "nobody", Options: &authpb.UserAddOptions{NoPassword: true}},
	} {
		_, err := raw.UserAdd(f.ctx, req)
		must(t, err)
	}
	perms := []*authpb.Permission{
		{PermType: authpb.Permission_READ, Key: []byte("k")},
		{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte("b")},
		{PermType: authpb.Permission_WRITE, Key: []byte("z"), RangeEnd: []byte{0}},
	}
	for _, role := range []string{"root", "r"} {
		_, err := raw.RoleAdd(f.ctx, &etcdserverpb.AuthRoleAddRequest{Name: role})
		must(t, err)
	}
	for _, perm := range perms {
		_, err := raw.RoleGrantPermission(f.ctx, &etcdserverpb.AuthRoleGrantPermissionRequest{Name: "r", Perm: perm})
		must(t, err)
	}
	for _, role := range []string{"root", "r"} {
		_, err := raw.UserGrantRole(f.ctx, &etcdserverpb.AuthUserGrantRoleRequest{User: "root", Role: role})
		must(t, err)
	}
	user, err := raw.UserGet(f.ctx, &etcdserverpb.AuthUserGetRequest{Name: "root"})
	must(t, err)
	users, err := raw.UserList(f.ctx, &etcdserverpb.AuthUserListRequest{})
	must(t, err)
	roles, err := raw.RoleList(f.ctx, &etcdserverpb.AuthRoleListRequest{})
	must(t, err)
	if !slices.Equal(user.Roles, []string{"r", "root"}) || !slices.Equal(users.Users, []string{"hashed", "nobody", "root"}) || !slices.Equal(roles.Roles, []string{"r", "root"}) {
		t.Errorf("roles of root %q, users %q, roles %q", user.Roles, users.Users, roles.Roles)
	}
	role, err := raw.RoleGet(f.ctx, &etcdserverpb.AuthRoleGetRequest{Role: "r"})
	must(t, err)
	slices.SortFunc(perms, func(a, b *authpb.Permission) int { return slices.Compare(a.Key, b.Key) })
	if !slices.EqualFunc(role.Perm, perms, func(a, b *authpb.Permission) bool { return proto.Equal(a, b) }) {
		t.Errorf("the role has %v, want %v", role.Perm, perms)
	}
	_, err = raw.RoleRevokePermission(f.ctx, &etcdserverpb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a")})
	f.wantError("revoke a part of a range", rpctypes.Error(err), rpctypes.ErrPermissionNotGranted)
	_, err = raw.RoleRevokePermission(f.ctx, &etcdserverpb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("b")})
	must(t, err)
	if role, err = raw.RoleGet(f.ctx, &etcdserverpb.AuthRoleGetRequest{Role: "r"}); err != nil || len(role.Perm) != 2 {
		t.Errorf("after a revocation the role has %v, %v", role, err)
	}
	if now := status(); now.AuthRevision <= before.AuthRevision {
		t.Errorf("the auth revision is %d after all this, and was %d", now.AuthRevision, before.AuthRevision)
	}

	_, err = raw.AuthEnable(f.ctx, &etcdserverpb.AuthEnableRequest{})
	must(t, err)
	login := func(name, password string) error {
		resp, err := raw.Authenticate(f.ctx, &etcdserverpb.AuthenticateRequest{Name: name, Password: password})
		if err == nil && resp.Token == "" {
			t.Errorf("%s gets no token", name)
		}
		return rpctypes.Error(err)
	}
	must(t, login("root", "pw"), login("hashed", "hashed"))
	for _, who := range [][2]string{{"hashed", "pw"}, {"nobody", ""}, {"nobody", "x"}, {"absent", "x"}} {
		f.wantError("login of "+who[0], login(who[0], who[1]), rpctypes.ErrAuthFailed)
	}
	root := f.as("root", "pw")
	hash, err = bcrypt.GenerateFromPassword([]byte("second"), bcrypt.MinCost)
	must(t, err)
	_, err = etcdserverpb.NewAuthClient(root.ActiveConnection()).UserChangePassword(f.ctx, &etcdserverpb.AuthUserChangePasswordRequest{
		Name: "hashed", HashedPassword: base64.StdEncoding.EncodeToString(hash),
	})
	if err == nil {
		must(t, login("hashed", "second"))
	}
	must(t, err)
	_, err = root.UserRevokeRole(f.ctx, "root", "r")
	must(t, err)
	if user, err := root.UserGet(f.ctx, "root"); err != nil || !slices.Equal(user.Roles, []string{"root"}) {
		t.Errorf("root has the roles %v, %v", user, err)
	}
	_, err = root.RoleDelete(f.ctx, "r")
	must(t, err)
	if left, err := root.RoleList(f.ctx); err != nil || !slices.Equal(left.Roles, []string{"root"}) {
		t.Errorf("after the deletion there are the roles %v, %v", left, err)
	}
	if enabled, err := root.AuthStatus(f.ctx); err != nil || !enabled.Enabled {
		t.Errorf("status at the end: %v, %v", enabled, err)
	}
}
