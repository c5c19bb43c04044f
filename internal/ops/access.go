package ops

import (
	"fmt"
	"net"
	"net/http"
	"slices"
)

// Access restricts the origins that may call from a browser (--cors), and the host names in
// requests (--host-whitelist). Both protect only against the scripts of foreign pages in a user's
// browser.
type Access struct {
	Origins []string // "*" means any
	Hosts   []string // "*", or none, means any
	// AnyOrigin reports whether any origin may call a path when Origins is empty.
	AnyOrigin func(path string) bool
}

// Guard applies the rules to each request before next serves it. It responds to OPTIONS itself, on
// every path, since browsers send it as a preflight request.
func (a Access) Guard(next http.Handler) http.Handler {
	options := ServeOptions(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.admit(w, r) {
			options.ServeHTTP(w, r)
		}
	})
}

// allowedOrigin returns the value of Access-Control-Allow-Origin for a request of an origin for a
// path, or "" if the origin is not allowed.
func (a Access) allowedOrigin(origin, path string) string {
	switch {
	case slices.Contains(a.Origins, "*"), len(a.Origins) == 0 && a.AnyOrigin != nil && a.AnyOrigin(path):
		return "*"
	case slices.Contains(a.Origins, origin):
		return origin
	default:
		return ""
	}
}

// AllowsOrigin reports whether scripts of an origin may call a path. It is for websockets, to which
// browsers do not apply the Access-Control headers.
func (a Access) AllowsOrigin(origin, path string) bool { return a.allowedOrigin(origin, path) != "" }

// admit sets the Access-Control headers. If the request's host is not allowed it sends the response
// and returns false.
func (a Access) admit(w http.ResponseWriter, r *http.Request) bool {
	if host := hostOf(r); r.TLS == nil && !a.knows(host) {
		http.Error(w, fmt.Sprintf(misdirected, host), http.StatusMisdirectedRequest)
		return false
	}
	origin := a.allowedOrigin(r.Header.Get("Origin"), r.URL.Path)
	if origin == "" {
		return true
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
	if origin != "*" {
		h.Add("Vary", "Origin") // caches must not serve one origin's response to another
	}
	return true
}

func (a Access) knows(host string) bool {
	return len(a.Hosts) == 0 || slices.Contains(a.Hosts, "*") || slices.Contains(a.Hosts, host)
}

// hostOf returns the host that a request was addressed to, without the port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host
	}
	return host
}

// misdirected is etcd's response to a request for a host that is not allowed.
const misdirected = `
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist %q

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`
