package console

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/auth"
	"cairn/internal/v2tree"
	"cairn/internal/v3rpc"
)

// errNoCredentials refuses a request without a session. The RPCs' text for it is about an empty
// user name, which would mislead the console's user.
var errNoCredentials = status.Error(codes.Unauthenticated, "etcdserver: log in first")

// errBusy refuses a request that found too many others in progress.
var errBusy = status.Error(codes.ResourceExhausted, "etcdserver: too many requests of the console read many keys: retry")

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
	var (
		st      *status.Status
		refused refusalError
		v2      *v2tree.Error
	)
	switch {
	case errors.As(err, &refused):
		return status.Convert(refused.error), refused.status
	case errors.As(err, &v2):
		st = status.New(v2Code(v2.Code), "etcdserver: "+v2Texts[v2.Code]+": "+v2.Cause)
	case errors.Is(err, auth.NoCredentials):
		st = status.Convert(errNoCredentials)
	default:
		st = status.Convert(v3rpc.WireError(err))
	}
	return st, runtime.HTTPStatusFromCode(st.Code())
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
