package console

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// marker is the header of requests that the console's scripts send. Scripts of other origins cannot
// send it: browsers would ask first whether they may, and --cors does not allow it.
const marker = "X-Cairn-Console"

// refusal returns why a request is not served, or "". While authentication is disabled, only
// programs on the same machine are served, and only if they have addressed it by a name that no
// foreign page can have: a page whose name resolves to 127.0.0.1 would have the same origin as the
// console (DNS rebinding).
func (c *Console) refusal(r *http.Request) string {
	if c.member.Gate().State().Enabled {
		return ""
	}
	if !isLocal(r) {
		return "the console is served only to connections from the same machine while authentication is disabled: " +
			"connect through `ssh -L 2379:127.0.0.1:2379 HOST` or enable authentication (etcdctl auth enable)"
	}
	if host := hostOf(r.Host); !isLocalHost(host) && !slices.Contains(c.opts.Hosts, host) {
		return "the console is served at http://localhost or http://127.0.0.1 while authentication is disabled: " +
			"add the host to --host-whitelist to use it under another name"
	}
	return ""
}

// isLocal reports whether a request is from the same machine.
func isLocal(r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// hostOf returns a host without its port.
func hostOf(hostPort string) string {
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return strings.Trim(hostPort, "[]")
}

func isLocalHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// origin is what a browser reports about the page that sent a request.
type origin byte

const (
	originNone    origin = iota // not a browser, or an old one
	originSame                  // a page of this server
	originForeign               // another page
)

// originOf returns the origin of a request. Scripts cannot set the two header fields.
func originOf(r *http.Request) origin {
	site, from := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site == "" && from == "":
		return originNone
	case site != "" && site != "same-origin" && site != "none": // none: the user has entered the address
		return originForeign
	case from != "" && !isOriginOf(from, r):
		return originForeign
	case site == "none":
		return originNone
	default:
		return originSame
	}
}

func isOriginOf(from string, r *http.Request) bool {
	u, err := url.Parse(from)
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	// A proxy in front may speak TLS where this server does not, but not the reverse.
	return u.Scheme == "https" || u.Scheme == "http" && r.TLS == nil
}

// isMarked reports whether a request has the header of the console's scripts and is not from
// another page.
func isMarked(r *http.Request) bool {
	return len(r.Header[marker]) > 0 && originOf(r) != originForeign
}
