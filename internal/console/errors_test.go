package console

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"

	"cairn/internal/auth"
	"cairn/internal/lease"
	"cairn/internal/member"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// TestStatus: errors have the codes and texts of the RPCs and the HTTP statuses of the JSON
// gateway, apart from the console's own refusals and those of v2.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		http int
		code codes.Code
		text string
	}{
		{fmt.Errorf("tree: %w", mvcc.ErrCompacted), http.StatusBadRequest, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{mvcc.ErrOvertaken, http.StatusServiceUnavailable, codes.Unavailable, "etcdserver: read overtaken by a compaction"},
		{mvcc.ErrLeaseNotFound, http.StatusNotFound, codes.NotFound, "etcdserver: requested lease not found"},
		{lease.ErrExists, http.StatusBadRequest, codes.FailedPrecondition, "etcdserver: lease already exists"},
		{membership.ErrNotFound, http.StatusNotFound, codes.NotFound, "etcdserver: member not found"},
		{member.ErrTooManyRequests, http.StatusTooManyRequests, codes.ResourceExhausted, "etcdserver: too many requests"},
		{auth.Denied, http.StatusForbidden, codes.PermissionDenied, "etcdserver: permission denied"},
		{auth.NoCredentials, http.StatusUnauthorized, codes.Unauthenticated, "etcdserver: log in first"},
		{errBusy, http.StatusTooManyRequests, codes.ResourceExhausted, "etcdserver: too many requests of the console read many keys: retry"},
		{refuse(http.StatusMethodNotAllowed, "no"), http.StatusMethodNotAllowed, codes.PermissionDenied, "etcdserver: no"},
		{&v2tree.Error{Code: v2tree.CodeKeyNotFound, Cause: "/a"}, http.StatusNotFound, codes.NotFound, "etcdserver: key not found: /a"},
		{&v2tree.Error{Code: v2tree.CodeNotFile, Cause: "/a"}, http.StatusBadRequest, codes.FailedPrecondition, "etcdserver: not a file: /a"},
		{errors.New("odd"), http.StatusInternalServerError, codes.Unknown, "odd"},
	} {
		st, status := statusOf(c.err)
		if status != c.http || st.Code() != c.code || st.Message() != c.text {
			t.Errorf("%v: %d %v %q, want %d %v %q", c.err, status, st.Code(), st.Message(), c.http, c.code, c.text)
		}
	}
}
