package v2http

import (
	"net/http"
	"slices"
	"strings"
)

// others lists what else etcd serves below /v2, by which methods, and who answers.
// What nobody answers yet finds nothing with a method that etcd allows; other methods
// are refused as they always will be.
var others = []struct {
	path  string
	below bool   // also what lies below the path
	allow string // in etcd's order and spelling
	serve func(*Handler, http.ResponseWriter, *http.Request)
}{
	{"/v2/machines", false, "GET,HEAD", (*Handler).serveMachines},
	{"/v2/stats/self", false, "GET", (*Handler).serveStatsSelf},
	{"/v2/stats/store", false, "GET", (*Handler).serveStatsStore},
	{"/v2/stats/leader", false, "GET", (*Handler).serveStatsLeader},
	{membersPath, true, "GET,POST,DELETE,PUT", (*Handler).serveMembers},
	{"/v2/auth/users", false, "GET", nil},
	{"/v2/auth/users/", true, "GET,PUT,DELETE", nil},
	{"/v2/auth/roles", false, "GET", nil},
	{"/v2/auth/roles/", true, "GET,PUT,DELETE", nil},
	{"/v2/auth/enable", false, "GET,PUT,DELETE", nil},
}

func (h *Handler) serveOther(w http.ResponseWriter, r *http.Request) {
	for _, o := range others {
		below := o.below && strings.HasPrefix(r.URL.Path, strings.TrimSuffix(o.path, "/")+"/")
		if r.URL.Path != o.path && !below {
			continue
		}
		switch {
		case !slices.Contains(strings.Split(o.allow, ","), r.Method):
			refuseMethod(w, o.allow)
		case o.serve == nil || h.cluster == nil:
			http.NotFound(w, r)
		default:
			o.serve(h, w, r)
		}
		return
	}
	http.NotFound(w, r)
}

func refuseMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
}
