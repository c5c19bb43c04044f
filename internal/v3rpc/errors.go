package v3rpc

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/lease"
	"cairn/internal/member"
	"cairn/internal/member/reconfigure"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
)

// wireErrors is the one place where errors get etcd's codes and texts.
var wireErrors = []struct{ err, wire error }{
	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{mvcc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{mvcc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{mvcc.ErrLoading, status.Error(codes.Unavailable, "etcdserver: "+mvcc.ErrLoading.Error())},
	{mvcc.ErrOvertaken, status.Error(codes.Unavailable, "etcdserver: "+mvcc.ErrOvertaken.Error())},
	{migration.ErrMigrating, status.Error(codes.FailedPrecondition, "etcdserver: "+migration.ErrMigrating.Error())},
	{mvcc.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{lease.ErrExists, rpctypes.ErrGRPCLeaseExist},
	{replica.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{member.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{member.ErrLeaderChanged, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{member.ErrTransferTimeout, status.Error(codes.Unavailable, "etcdserver: "+member.ErrTransferTimeout.Error())},
	{member.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{member.ErrBadTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
	{reconfigure.ErrNotEnoughStarted, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{reconfigure.ErrUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{reconfigure.ErrLearnerNotReady, rpctypes.ErrGRPCLearnerNotReady},
	{member.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
	{budget.ErrExhausted, rpctypes.ErrGRPCRequestTooManyRequests},
	{member.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{alarm.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{alarm.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{membership.ErrNotFound, rpctypes.ErrGRPCMemberNotFound},
	{membership.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
	{membership.ErrOnlyMember, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{membership.ErrRemoved, rpctypes.ErrGRPCMemberNotFound},
	{membership.ErrExists, rpctypes.ErrGRPCMemberExist},
	{membership.ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{membership.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{auth.Denied, rpctypes.ErrGRPCPermissionDenied},
	{auth.OldRevision, rpctypes.ErrGRPCAuthOldRevision},
	{auth.NoCredentials, rpctypes.ErrGRPCUserEmpty},
	{auth.BadToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.BadPassword, rpctypes.ErrGRPCAuthFailed},
	{auth.NotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.NoRootUser, rpctypes.ErrGRPCRootUserNotExist},
	{auth.NoRootRole, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.UserExists, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.UserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.UserNameEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.PasswordTooLong, status.Error(codes.InvalidArgument, "etcdserver: "+auth.PasswordTooLong.Error())},
	{auth.RootUserNeeded, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.RoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.RoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.RoleNameEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.RoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.PermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.PermissionEmpty, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.TooManyLogins, rpctypes.ErrGRPCRequestTooManyRequests},
	{auth.TokenAhead, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.VerifyOnly, status.Error(codes.FailedPrecondition, "etcdserver: "+auth.VerifyOnly.Error())},
	{member.ErrStopped, rpctypes.ErrGRPCStopped},
	{member.ErrRemoved, rpctypes.ErrGRPCStopped},
	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
}

// migrationRefusals refuse commands of a migration. Their texts have the details.
var migrationRefusals = []error{
	migration.ErrNotNew, migration.ErrOtherSource, migration.ErrPhase, migration.ErrRevision, mvcc.ErrHistory, lease.ErrRestored,
}

// WireError returns the gRPC status of an error for the client. It returns an error that is a
// status already, as it is; one that the table does not have becomes Unknown with its own text.
func WireError(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, e := range wireErrors {
		if errors.Is(err, e.err) {
			return e.wire
		}
	}
	for _, refusal := range migrationRefusals {
		if errors.Is(err, refusal) {
			return status.Error(codes.FailedPrecondition, "etcdserver: "+err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// unexecuted is the error of a call that has certainly not been executed
// (grpcserver.Unexecuted).
type unexecuted struct{ error }

// Unexecuted implements grpcserver.Unexecuted.
func (unexecuted) Unexecuted() {}

// GRPCStatus returns the status for clients that cannot be made to send the call again.
func (e unexecuted) GRPCStatus() *status.Status { return status.Convert(e.error) }
