package v3op

import (
	"go.etcd.io/etcd/api/v3/authpb"

	"cairn/internal/auth"
)

// PermissionType returns the type of a permission in v3.
func PermissionType(a auth.Access) authpb.Permission_Type {
	switch a {
	case auth.Read:
		return authpb.READ
	case auth.Write:
		return authpb.WRITE
	default:
		return authpb.READWRITE
	}
}
