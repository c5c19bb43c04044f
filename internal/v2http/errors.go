package v2http

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"cairn/internal/auth"
	"cairn/internal/v2tree"
)

// Codes of refusals by this package; v2tree has the others.
const (
	codeUnauthorized      = 110
	codePrevValueRequired = 201
	codeTTLNaN            = 202
	codeIndexNaN          = 203
	codeInvalidField      = 209
	codeInvalidForm       = 210
	codeRefreshValue      = 211
	codeRefreshTTL        = 212
	codeRaftInternal      = 300
	codeEventIndexCleared = 401
)

// wireError is an error code on the wire.
type wireError struct {
	status  int
	message string
}

// wireErrors is the one table of v2's errors, as etcd documents them
// (Documentation/v2/errorcode.md).
var wireErrors = map[int]wireError{
	v2tree.CodeKeyNotFound:       {http.StatusNotFound, "Key not found"},
	v2tree.CodeCompareFailed:     {http.StatusPreconditionFailed, "Compare failed"},
	v2tree.CodeNotFile:           {http.StatusForbidden, "Not a file"},
	v2tree.CodeNotDirectory:      {http.StatusBadRequest, "Not a directory"},
	v2tree.CodeKeyExists:         {http.StatusPreconditionFailed, "Key already exists"},
	v2tree.CodeRootReadOnly:      {http.StatusBadRequest, "Root is read only"},
	v2tree.CodeDirectoryNotEmpty: {http.StatusForbidden, "Directory not empty"},
	codeUnauthorized:             {http.StatusUnauthorized, "The request requires user authentication"},
	codePrevValueRequired:        {http.StatusBadRequest, "PrevValue is Required in POST form"},
	codeTTLNaN:                   {http.StatusBadRequest, "The given TTL in POST form is not a number"},
	codeIndexNaN:                 {http.StatusBadRequest, "The given index in POST form is not a number"},
	codeInvalidField:             {http.StatusBadRequest, "Invalid field"},
	codeInvalidForm:              {http.StatusBadRequest, "Invalid POST form"},
	codeRefreshValue:             {http.StatusBadRequest, "Value provided on refresh"},
	codeRefreshTTL:               {http.StatusBadRequest, "A TTL must be provided on refresh"},
	codeEventIndexCleared:        {http.StatusBadRequest, "The event in requested index is outdated and cleared"},
	codeRaftInternal:             {http.StatusInternalServerError, "Raft Internal Error"},
}

// refuse returns the refusal of a request that did not reach the tree; etcd gives it the index 0.
func refuse(code int, cause string) error { return &v2tree.Error{Code: code, Cause: cause} }

// writeError writes a refusal, or a failure of the member, and returns the HTTP status.
func writeError(w http.ResponseWriter, err error) (status int) {
	var e *v2tree.Error
	if errors.Is(err, auth.Denied) || errors.Is(err, auth.BadPassword) {
		err = refuse(codeUnauthorized, insufficient)
	}
	if !errors.As(err, &e) {
		e = &v2tree.Error{Code: codeRaftInternal, Cause: failure(err)}
	}
	w.Header()["X-Etcd-Index"] = []string{strconv.FormatInt(e.Index, 10)}
	status = wireErrors[e.Code].status
	if u := unexecuted(nil); errors.As(err, &u) {
		w.Header()["X-Etcd-Not-Executed"] = []string{"true"}
		status = http.StatusServiceUnavailable
	}
	writeBody(w, status, appendError(nil, e))
	return status
}

// unexecuted is an error of the member for a request that has certainly not been executed. The
// response says so by X-Etcd-Not-Executed, for proxies, and by 503, for clients that then try
// another member.
type unexecuted interface {
	error
	Unexecuted()
}

// failure returns the cause in the response for a failure of the member.
func failure(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "etcdserver: request timed out"
	case errors.Is(err, context.Canceled):
		return "etcdserver: request cancelled"
	default:
		return "etcdserver: " + err.Error()
	}
}

func appendError(dst []byte, e *v2tree.Error) []byte {
	dst = append(dst, `{"errorCode":`...)
	dst = strconv.AppendInt(dst, int64(e.Code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, []byte(wireErrors[e.Code].message))
	if e.Cause != "" {
		dst = append(dst, `,"cause":`...)
		dst = appendString(dst, []byte(e.Cause))
	}
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, e.Index, 10)
	return append(dst, "}\n"...)
}
