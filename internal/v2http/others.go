package v2http

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// routes are the other paths of etcd below /v2, with the methods that each allows and its handler.
// Methods that etcd does not allow are refused first.
var routes = []struct {
	path  string
	below bool   // also paths below it
	allow string // in etcd's order and spelling
	root  string // the methods that need the role root
	serve func(*Handler, http.ResponseWriter, *http.Request)
}{
	{"/v2/machines", false, "GET,HEAD", "", (*Handler).serveMachines},
	{"/v2/stats/self", false, "GET", "", (*Handler).serveStatsSelf},
	{"/v2/stats/store", false, "GET", "", (*Handler).serveStatsStore},
	{"/v2/stats/leader", false, "GET", "", (*Handler).serveStatsLeader},
	{membersPath, true, "GET,POST,DELETE,PUT", "POST,DELETE,PUT", (*Handler).serveMembers},
	{usersPath, false, "GET", "GET", (*Handler).serveUsers},
	{usersPath + "/", false, "GET", "GET", (*Handler).serveUsers},
	{usersPath + "/", true, "GET,PUT,DELETE", "GET,PUT,DELETE", (*Handler).serveUser},
	{rolesPath, false, "GET", "GET", (*Handler).serveRoles},
	{rolesPath + "/", false, "GET", "GET", (*Handler).serveRoles},
	{rolesPath + "/", true, "GET,PUT,DELETE", "GET,PUT,DELETE", (*Handler).serveRole},
	{"/v2/auth/enable", false, "GET,PUT,DELETE", "PUT,DELETE", (*Handler).serveAuthEnable},
}

func (h *Handler) serveRoute(w http.ResponseWriter, r *http.Request) {
	for _, o := range routes {
		below := o.below && strings.HasPrefix(r.URL.Path, strings.TrimSuffix(o.path, "/")+"/")
		if r.URL.Path != o.path && !below {
			continue
		}
		switch {
		case deepAuthPath(r.URL.Path):
			writeMessage(w, &message{http.StatusBadRequest, "Invalid path"})
		case !slices.Contains(strings.Split(o.allow, ","), r.Method):
			refuseMethod(w, o.allow)
		case h.cluster == nil, h.authority == nil && strings.HasPrefix(r.URL.Path, "/v2/auth/"):
			http.NotFound(w, r)
		default:
			if slices.Contains(strings.Split(o.root, ","), r.Method) {
				if err := h.asRoot(r, func(context.Context) error { return nil }); err != nil {
					writeMessage(w, err)
					return
				}
			}
			o.serve(h, w, r)
		}
		return
	}
	http.NotFound(w, r)
}

// deepAuthPath reports whether a path below users or roles has more than one name. etcd checks it
// first.
func deepAuthPath(path string) bool {
	for _, above := range [...]string{usersPath, rolesPath} {
		if name, ok := strings.CutPrefix(path, above+"/"); ok && strings.Contains(strings.TrimSuffix(name, "/"), "/") {
			return true
		}
	}
	return false
}

func refuseMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
}
