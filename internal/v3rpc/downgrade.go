package v3rpc

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/version"
)

// invalid returns the refusal of a request with an unknown value.
func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, "etcdserver: "+fmt.Sprintf(format, args...))
}

// downgrade serves Maintenance.Downgrade. A target that etcd refuses is refused with etcd's
// errors. A target that etcd allows, one minor version below the cluster's, is refused as well: no
// version of cairn serves it, and etcd cannot read cairn's data.
func (s *server) downgrade(ctx context.Context, req *etcdserverpb.DowngradeRequest) (any, error) {
	if err := s.checkRoot(ctx); err != nil {
		return nil, err
	}
	switch req.Action {
	case etcdserverpb.DowngradeRequest_VALIDATE, etcdserverpb.DowngradeRequest_ENABLE:
		major, minor, ok := parseVersion(req.Version)
		if !ok {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
			return nil, err
		}
		if err := s.checkRoot(ctx); err != nil { // again, after waiting
			return nil, err
		}
		ownMajor, ownMinor, _ := parseVersion(version.Cluster)
		if major != ownMajor || minor != ownMinor-1 {
			return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
		}
		return nil, status.Errorf(codes.FailedPrecondition,
			"etcdserver: cannot downgrade to %d.%d: every version of cairn serves %s, and etcd cannot read its data: use etcdutl export",
			major, minor, version.Minor)
	case etcdserverpb.DowngradeRequest_CANCEL:
		return nil, rpctypes.ErrGRPCNoInflightDowngrade
	default:
		return nil, invalid("unknown downgrade action %d: want VALIDATE, ENABLE or CANCEL", req.Action)
	}
}

// parseVersion parses MAJOR.MINOR or MAJOR.MINOR.PATCH; a suffix after a dash or a plus is ignored,
// as in semantic versions.
func parseVersion(text string) (major, minor uint64, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	if len(parts) == 3 {
		parts[2], _, _ = strings.Cut(parts[2], "+")
		parts[2], _, _ = strings.Cut(parts[2], "-")
	}
	var numbers [3]uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return 0, 0, false
		}
		numbers[i] = n
	}
	return numbers[0], numbers[1], true
}
