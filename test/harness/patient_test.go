package harness

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestPatient: which errors of a cluster's members end a request, and which attempts follow.
func TestPatient(t *testing.T) {
	for name, c := range map[string]struct {
		results  []error // of the attempts; the context ends with the last one
		want     codes.Code
		attempts int
	}{
		"served":                     {[]error{nil}, codes.OK, 1},
		"refused":                    {[]error{rpctypes.ErrGRPCRoleNotFound}, codes.FailedPrecondition, 1},
		"exists":                     {[]error{rpctypes.ErrGRPCRoleAlreadyExist}, codes.FailedPrecondition, 1},
		"without a leader":           {[]error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCLeaderChanged, nil}, codes.OK, 3},
		"executed before":            {[]error{rpctypes.ErrGRPCTimeout, rpctypes.ErrGRPCRoleAlreadyExist}, codes.OK, 2},
		"refused later":              {[]error{rpctypes.ErrGRPCTimeout, rpctypes.ErrGRPCPermissionDenied}, codes.PermissionDenied, 2},
		"unavailable until the end":  {[]error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNoLeader}, codes.Unavailable, 2},
		"its own deadline has ended": {[]error{status.FromContextError(context.DeadlineExceeded).Err()}, codes.DeadlineExceeded, 1},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		err := sendAgain(ctx, "", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			if attempts++; attempts == len(c.results) {
				cancel()
			}
			return c.results[attempts-1]
		})
		cancel()
		if status.Code(err) != c.want || attempts != c.attempts {
			t.Errorf("%s: %v after %d attempts, want %v after %d", name, err, attempts, c.want, c.attempts)
		}
		if errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error of the request is lost", name)
		}
	}
}
