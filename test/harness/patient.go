package harness

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Patient is an option for the clients of clusters: it sends a request again, until its context
// ends, when no member could serve it. A machine that is too busy for heartbeats, or that stops for
// a second, makes a cluster elect another leader, and requests fail meanwhile (no leader, leader
// changed, request timed out). Such a request may have been executed: it may be executed twice, so
// that tests which count versions or revisions must not use Patient.
func Patient() grpc.DialOption { return grpc.WithChainUnaryInterceptor(sendAgain) }

// repeated are the errors of a request whose earlier attempt was executed although it failed. The
// request has then succeeded, with an empty response.
var repeated = []error{rpctypes.ErrUserAlreadyExist, rpctypes.ErrRoleAlreadyExist, rpctypes.ErrLeaseExist, rpctypes.ErrCompacted}

func sendAgain(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for attempt := 0; ; attempt++ {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if attempt > 0 && executed(err) {
			return nil
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func executed(err error) bool {
	return slices.ContainsFunc(repeated, func(r error) bool { return errors.Is(rpctypes.Error(err), r) })
}
