package console

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/auth"
)

// errReadOnly refuses a request that writes.
var errReadOnly = refusalError{status.Error(codes.PermissionDenied, "etcdserver: the console is read-only (--console-read-only)"), http.StatusForbidden}

// gatewayPrefixes are the prefixes of the JSON gateway's paths.
var gatewayPrefixes = []string{"/v3/", "/v3beta/", "/v3alpha/"}

// reading are the paths of the JSON gateway that change nothing.
var reading = map[string]bool{
	"kv/range": true, "watch": true, "kv/lease/timetolive": true, "lease/timetolive": true, "kv/lease/leases": true, "lease/leases": true,
	"cluster/member/list": true, "maintenance/status": true, "maintenance/hash": true, "maintenance/snapshot": true,
	"auth/authenticate": true, "auth/status": true, "auth/user/get": true, "auth/user/list": true, "auth/role/get": true, "auth/role/list": true,
}

// Wrap returns a handler for all paths but the console's: it gives the requests of the console's
// scripts the token of their session, or the user of their certificate, and refuses those that
// write if the console is read-only. All other requests reach next unchanged: neither the cookie
// nor, as JSON, the certificate counts for them.
func (c *Console) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		marked, path := len(r.Header[marker]) > 0, gatewayPath(r.URL.Path)
		websocket := path != "" && isWebsocket(r)
		if !marked && !websocket && !c.opts.ReadOnly {
			next.ServeHTTP(w, r)
			return
		}
		from := originOf(r)
		switch {
		case marked && from == originForeign:
			writeError(w, refuse(http.StatusForbidden, "the request is from a page of another origin"))
			return
		case c.opts.ReadOnly && (marked || from == originSame || c.sessionToken(r) != "") && !reads(r, path):
			writeError(w, errReadOnly)
			return
		case path != "" && (marked || websocket && from == originSame):
			r = c.withSession(r)
		}
		next.ServeHTTP(w, r)
	})
}

// withSession returns the request with the credentials of the session. Those in the request have
// precedence.
func (c *Console) withSession(r *http.Request) *http.Request {
	if r.Header.Get("Authorization") != "" {
		return r
	}
	if token := c.sessionToken(r); token != "" {
		r.Header.Set("Authorization", token)
		return r
	}
	if name := c.commonName(r); name != "" {
		return r.WithContext(auth.WithCertificate(r.Context(), name))
	}
	return r
}

// gatewayPath returns a path of the JSON gateway without its prefix, or "" for other paths.
func gatewayPath(path string) string {
	for _, p := range gatewayPrefixes {
		if rest, ok := strings.CutPrefix(path, p); ok {
			return rest
		}
	}
	return ""
}

func isWebsocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) > 0 && strings.EqualFold(upgrade[0], "websocket")
}

// reads reports whether a request changes nothing; path is that of the JSON gateway, or "".
func reads(r *http.Request, path string) bool {
	if path != "" {
		return reading[path]
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	default:
		return false
	}
}
