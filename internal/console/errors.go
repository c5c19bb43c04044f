package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/member"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
	"cairn/internal/v2tree"
)

// wireErrors has the statuses of errors that the API returns; the texts are those of the RPCs.
var wireErrors = []struct{ err, wire error }{
	{auth.Denied, rpctypes.ErrGRPCPermissionDenied},
	{auth.NoCredentials, status.Error(codes.Unauthenticated, "etcdserver: log in first")},
	{auth.BadToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.TokenAhead, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.OldRevision, rpctypes.ErrGRPCAuthOldRevision},
	{auth.BadPassword, rpctypes.ErrGRPCAuthFailed},
	{auth.NotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.UserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.TooManyLogins, rpctypes.ErrGRPCRequestTooManyRequests},
	{auth.VerifyOnly, status.Error(codes.FailedPrecondition, "etcdserver: "+auth.VerifyOnly.Error())},
	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{mvcc.ErrLoading, status.Error(codes.Unavailable, "etcdserver: "+mvcc.ErrLoading.Error())},
	{mvcc.ErrOvertaken, status.Error(codes.Unavailable, "etcdserver: "+mvcc.ErrOvertaken.Error())},
	{alarm.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{alarm.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{migration.ErrMigrating, status.Error(codes.FailedPrecondition, "etcdserver: "+migration.ErrMigrating.Error())},
	{replica.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{member.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{member.ErrLeaderChanged, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{member.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
	{member.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{member.ErrStopped, rpctypes.ErrGRPCStopped},
	{budget.ErrExhausted, rpctypes.ErrGRPCRequestTooManyRequests},
	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
}

// errBusy refuses a request that found too many others in progress.
var errBusy = status.Error(codes.ResourceExhausted, "etcdserver: too many requests of the console read many keys: retry")

// statuses are the HTTP statuses of gRPC's codes.
var statuses = map[codes.Code]int{
	codes.InvalidArgument: http.StatusBadRequest, codes.NotFound: http.StatusNotFound, codes.PermissionDenied: http.StatusForbidden,
	codes.ResourceExhausted: http.StatusTooManyRequests, codes.FailedPrecondition: http.StatusBadRequest, codes.OutOfRange: http.StatusBadRequest,
	codes.Unavailable: http.StatusServiceUnavailable, codes.Unauthenticated: http.StatusUnauthorized, codes.DeadlineExceeded: http.StatusGatewayTimeout,
	codes.Unimplemented: http.StatusNotImplemented,
}

// refusalError is an error with an HTTP status other than its code's.
type refusalError struct {
	error
	status int
}

// refuse returns an error with the code PermissionDenied and an HTTP status.
func refuse(httpStatus int, text string) error {
	return refusalError{status.Error(codes.PermissionDenied, "etcdserver: "+text), httpStatus}
}

func invalidf(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, "etcdserver: "+format, args...)
}

// statusOf returns the status that the client gets, and its HTTP status.
func statusOf(err error) (*status.Status, int) {
	var refused refusalError
	if errors.As(err, &refused) {
		return status.Convert(refused.error), refused.status
	}
	st, ok := status.FromError(err)
	if !ok {
		st = status.New(codes.Unknown, err.Error())
		for _, e := range wireErrors {
			if errors.Is(err, e.err) {
				st = status.Convert(e.wire)
				break
			}
		}
	}
	var v2 *v2tree.Error
	if errors.As(err, &v2) {
		st = status.New(v2Code(v2.Code), "etcdserver: "+v2Texts[v2.Code]+": "+v2.Cause)
	}
	code, known := statuses[st.Code()]
	if !known {
		code = http.StatusInternalServerError
	}
	return st, code
}

// v2Texts are the texts of refusals of the v2 API.
var v2Texts = map[int]string{
	v2tree.CodeKeyNotFound: "key not found", v2tree.CodeCompareFailed: "compare failed", v2tree.CodeNotFile: "not a file",
	v2tree.CodeNotDirectory: "not a directory", v2tree.CodeKeyExists: "key already exists", v2tree.CodeRootReadOnly: "root is read only",
	v2tree.CodeDirectoryNotEmpty: "directory not empty",
}

func v2Code(code int) codes.Code {
	if code == v2tree.CodeKeyNotFound {
		return codes.NotFound
	}
	return codes.FailedPrecondition
}

// writeError writes an error in the form of the JSON gateway's.
func writeError(w http.ResponseWriter, err error) {
	st, code := statusOf(err)
	text, err := json.Marshal(struct {
		Error   string     `json:"error"`
		Code    codes.Code `json:"code"`
		Message string     `json:"message"`
	}{st.Message(), st.Code(), st.Message()})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text) // the client may have disconnected
}
