package ops

import (
	"fmt"
	"net"
	"net/http"
	"slices"
)

// Access says who may call from where, as far as HTTP can tell: which pages a browser may run
// scripts of (--cors), and which names of this machine a request may be addressed to
// (--host-whitelist). Neither is a protection against anything but browsers that somebody else
// gives orders to.
type Access struct {
	Origins []string // "*" is any
	Hosts   []string // "*", or none, is any
	// AnyOrigin says of a path that scripts of any page may call it although Origins is empty.
	AnyOrigin func(path string) bool
}

// Guard asks the rules before it passes a request on. It answers OPTIONS itself, on every path,
// since that is how browsers ask before they send.
func (a Access) Guard(next http.Handler) http.Handler {
	answered := AnswerOptions(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.admit(w, r) {
			answered.ServeHTTP(w, r)
		}
	})
}

// admit sets the headers that tell a browser what it may do. It answers and returns false where the
// host is not one of ours.
func (a Access) admit(w http.ResponseWriter, r *http.Request) bool {
	if host := hostOf(r); r.TLS == nil && !a.knows(host) {
		http.Error(w, fmt.Sprintf(misdirected, host), http.StatusMisdirectedRequest)
		return false
	}
	origin := r.Header.Get("Origin")
	switch {
	case slices.Contains(a.Origins, "*"), len(a.Origins) == 0 && a.AnyOrigin != nil && a.AnyOrigin(r.URL.Path):
		origin = "*"
	case !slices.Contains(a.Origins, origin):
		return true
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
	if origin != "*" {
		h.Add("Vary", "Origin") // so that no cache gives one origin's answer to another
	}
	return true
}

func (a Access) knows(host string) bool {
	return len(a.Hosts) == 0 || slices.Contains(a.Hosts, "*") || slices.Contains(a.Hosts, host)
}

// hostOf is the name that a request was addressed to, without the port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host
	}
	return host
}

// misdirected is what etcd answers. A page of a foreign name that resolves to this machine gets to
// see it, and nothing else.
const misdirected = `
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist %q

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`
