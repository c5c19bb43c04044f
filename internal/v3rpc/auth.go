package v3rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/v3op"
)

// authService is etcdserverpb.Auth.
var authService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Auth_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Auth_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "AuthEnable", Handler: call(etcdserverpb.Auth_AuthEnable_FullMethodName, (*server).authEnable)},
		{MethodName: "AuthDisable", Handler: call(etcdserverpb.Auth_AuthDisable_FullMethodName, (*server).authDisable)},
		{MethodName: "AuthStatus", Handler: call(etcdserverpb.Auth_AuthStatus_FullMethodName, (*server).authStatus)},
		{MethodName: "Authenticate", Handler: call(etcdserverpb.Auth_Authenticate_FullMethodName, (*server).authenticate)},
		{MethodName: "UserAdd", Handler: call(etcdserverpb.Auth_UserAdd_FullMethodName, (*server).userAdd)},
		{MethodName: "UserGet", Handler: call(etcdserverpb.Auth_UserGet_FullMethodName, (*server).userGet)},
		{MethodName: "UserList", Handler: call(etcdserverpb.Auth_UserList_FullMethodName, (*server).userList)},
		{MethodName: "UserDelete", Handler: call(etcdserverpb.Auth_UserDelete_FullMethodName, (*server).userDelete)},
		{MethodName: "UserChangePassword", Handler: call(etcdserverpb.Auth_UserChangePassword_FullMethodName, (*server).userChangePassword)},
		{MethodName: "UserGrantRole", Handler: call(etcdserverpb.Auth_UserGrantRole_FullMethodName, (*server).userGrantRole)},
		{MethodName: "UserRevokeRole", Handler: call(etcdserverpb.Auth_UserRevokeRole_FullMethodName, (*server).userRevokeRole)},
		{MethodName: "RoleAdd", Handler: call(etcdserverpb.Auth_RoleAdd_FullMethodName, (*server).roleAdd)},
		{MethodName: "RoleGet", Handler: call(etcdserverpb.Auth_RoleGet_FullMethodName, (*server).roleGet)},
		{MethodName: "RoleList", Handler: call(etcdserverpb.Auth_RoleList_FullMethodName, (*server).roleList)},
		{MethodName: "RoleDelete", Handler: call(etcdserverpb.Auth_RoleDelete_FullMethodName, (*server).roleDelete)},
		{MethodName: "RoleGrantPermission", Handler: call(etcdserverpb.Auth_RoleGrantPermission_FullMethodName, (*server).roleGrantPermission)},
		{MethodName: "RoleRevokePermission", Handler: call(etcdserverpb.Auth_RoleRevokePermission_FullMethodName, (*server).roleRevokePermission)},
	},
}

// authHeader returns the header of responses about users and roles, which have no revision.
func (s *server) authHeader() *etcdserverpb.ResponseHeader {
	return s.header(s.member.Requests.Keys().Head().Revision).proto()
}

// changeAuth proposes a command about users and roles on behalf of the caller.
func (s *server) changeAuth(ctx context.Context, c *auth.Command) error {
	return s.asRoot(ctx, func(ctx context.Context) error {
		_, err := s.member.Users.ChangeAuth(ctx, c)
		return err
	})
}

func (s *server) authEnable(ctx context.Context, _ *etcdserverpb.AuthEnableRequest) (any, error) {
	err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindEnable})
	if err != nil && !errors.Is(err, auth.AlreadyEnabled) {
		return nil, err
	}
	return &etcdserverpb.AuthEnableResponse{Header: s.authHeader()}, nil
}

func (s *server) authDisable(ctx context.Context, _ *etcdserverpb.AuthDisableRequest) (any, error) {
	err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindDisable})
	if err != nil && !errors.Is(err, auth.NotEnabled) {
		return nil, err
	}
	return &etcdserverpb.AuthDisableResponse{Header: s.authHeader()}, nil
}

// authStatus serves Auth.AuthStatus, also without a token: clients call it to find out whether they
// need one.
func (s *server) authStatus(context.Context, *etcdserverpb.AuthStatusRequest) (any, error) {
	state := s.member.Requests.Gate().State()
	return &etcdserverpb.AuthStatusResponse{Header: s.authHeader(), Enabled: state.Enabled, AuthRevision: state.Revision}, nil
}

func (s *server) authenticate(ctx context.Context, req *etcdserverpb.AuthenticateRequest) (any, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			ctx = auth.From(ctx, host)
		}
	}
	token, err := s.member.Users.Login(ctx, req.Name, req.Password)
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthenticateResponse{Header: s.authHeader(), Token: token}, nil
}

// hashOf returns the hash of a password, to be stored; clients may send the hash, in base64,
// instead.
func (s *server) hashOf(ctx context.Context, password, hashed string) (string, error) {
	if hashed == "" {
		return s.member.Requests.Gate().Hash(ctx, password)
	}
	hash, err := base64.StdEncoding.DecodeString(hashed)
	if err != nil || !auth.Hashed(hash) {
		return "", rpctypes.ErrGRPCInvalidAuthMgmt
	}
	return string(hash), nil
}

func (s *server) userAdd(ctx context.Context, req *etcdserverpb.AuthUserAddRequest) (any, error) {
	if req.Name == "" {
		return nil, auth.UserNameEmpty
	}
	err := s.asRoot(ctx, func(ctx context.Context) (err error) {
		c := auth.Command{Kind: auth.KindV3UserAdd, Name: req.Name}
		if !req.Options.GetNoPassword() {
			if c.Hash, err = s.hashOf(ctx, req.Password, req.HashedPassword); err != nil {
				return err
			}
		}
		_, err = s.member.Users.ChangeAuth(ctx, &c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserAddResponse{Header: s.authHeader()}, nil
}

func (s *server) userChangePassword(ctx context.Context, req *etcdserverpb.AuthUserChangePasswordRequest) (any, error) {
	err := s.asRoot(ctx, func(ctx context.Context) error {
		hash, err := s.hashOf(ctx, req.Password, req.HashedPassword)
		if err == nil {
			_, err = s.member.Users.ChangeAuth(ctx, &auth.Command{Kind: auth.KindV3UserPassword, Name: req.Name, Hash: hash})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserChangePasswordResponse{Header: s.authHeader()}, nil
}

// userGet returns a user. Every user may read its own record.
func (s *server) userGet(ctx context.Context, req *etcdserverpb.AuthUserGetRequest) (any, error) {
	c, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	if err := auth.PermitRoot(c.Subject); err != nil && c.Actor.Name != req.Name {
		return nil, err
	}
	u := c.State.User(req.Name)
	if u == nil {
		return nil, auth.UserNotFound
	}
	return &etcdserverpb.AuthUserGetResponse{Header: s.authHeader(), Roles: u.Roles}, nil
}

func (s *server) userList(ctx context.Context, _ *etcdserverpb.AuthUserListRequest) (any, error) {
	c, err := s.identify(ctx)
	if err == nil {
		err = auth.PermitRoot(c.Subject)
	}
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserListResponse{Header: s.authHeader(), Users: c.State.UserNames()}, nil
}

func (s *server) userDelete(ctx context.Context, req *etcdserverpb.AuthUserDeleteRequest) (any, error) {
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindUserDelete, Name: req.Name}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserDeleteResponse{Header: s.authHeader()}, nil
}

func (s *server) userGrantRole(ctx context.Context, req *etcdserverpb.AuthUserGrantRoleRequest) (any, error) {
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindV3UserGrant, Name: req.User, Role: req.Role}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserGrantRoleResponse{Header: s.authHeader()}, nil
}

func (s *server) userRevokeRole(ctx context.Context, req *etcdserverpb.AuthUserRevokeRoleRequest) (any, error) {
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindV3UserRevoke, Name: req.Name, Role: req.Role}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthUserRevokeRoleResponse{Header: s.authHeader()}, nil
}

func (s *server) roleAdd(ctx context.Context, req *etcdserverpb.AuthRoleAddRequest) (any, error) {
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindV3RoleAdd, Name: req.Name}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthRoleAddResponse{Header: s.authHeader()}, nil
}

// roleGet returns a role. Every user may read the roles that it has.
func (s *server) roleGet(ctx context.Context, req *etcdserverpb.AuthRoleGetRequest) (any, error) {
	c, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	if err := auth.PermitRoot(c.Subject); err != nil && (c.Subject.Stranger() || !slices.Contains(c.State.User(c.Actor.Name).Roles, req.Role)) {
		return nil, err
	}
	resp := &etcdserverpb.AuthRoleGetResponse{Header: s.authHeader()}
	if req.Role == auth.RootName {
		resp.Perm = []*authpb.Permission{{PermType: authpb.READWRITE, RangeEnd: []byte{0}}}
		return resp, nil
	}
	role := c.State.Role(req.Role)
	if role == nil {
		return nil, auth.RoleNotFound
	}
	for _, p := range role.Permissions() {
		resp.Perm = append(resp.Perm, &authpb.Permission{PermType: v3op.PermissionType(p.Access), Key: p.Key, RangeEnd: p.End})
	}
	return resp, nil
}

func (s *server) roleList(ctx context.Context, _ *etcdserverpb.AuthRoleListRequest) (any, error) {
	c, err := s.identify(ctx)
	if err == nil {
		err = auth.PermitRoot(c.Subject)
	}
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthRoleListResponse{Header: s.authHeader(), Roles: c.State.RoleNames()}, nil
}

func (s *server) roleDelete(ctx context.Context, req *etcdserverpb.AuthRoleDeleteRequest) (any, error) {
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindRoleDelete, Name: req.Role}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthRoleDeleteResponse{Header: s.authHeader()}, nil
}

func (s *server) roleGrantPermission(ctx context.Context, req *etcdserverpb.AuthRoleGrantPermissionRequest) (any, error) {
	if req.Perm == nil {
		return nil, rpctypes.ErrGRPCPermissionNotGiven
	}
	p := auth.Permission{KeyRange: kv.KeyRange{Key: req.Perm.Key, End: req.Perm.RangeEnd}}
	switch req.Perm.PermType {
	case authpb.READ:
		p.Access = auth.Read
	case authpb.WRITE:
		p.Access = auth.Write
	case authpb.READWRITE:
		p.Access = auth.ReadWrite
	default: // etcd stores it, and it permits nothing
		return nil, rpctypes.ErrGRPCInvalidAuthMgmt
	}
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindV3RoleGrant, Name: req.Name, Permission: p}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthRoleGrantPermissionResponse{Header: s.authHeader()}, nil
}

func (s *server) roleRevokePermission(ctx context.Context, req *etcdserverpb.AuthRoleRevokePermissionRequest) (any, error) {
	p := auth.Permission{KeyRange: kv.KeyRange{Key: req.Key, End: req.RangeEnd}, Access: auth.ReadWrite}
	if err := s.changeAuth(ctx, &auth.Command{Kind: auth.KindV3RoleRevoke, Name: req.Role, Permission: p}); err != nil {
		return nil, err
	}
	return &etcdserverpb.AuthRoleRevokePermissionResponse{Header: s.authHeader()}, nil
}
