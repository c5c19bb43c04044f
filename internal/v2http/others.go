package v2http

import (
	"net/http"
	"strings"
)

// others lists what else etcd serves below /v2, and by which methods. It is not
// served yet, so that a method which etcd allows finds nothing; the others are
// refused as they always will be.
var others = []struct {
	path  string
	below bool   // also what lies below the path
	allow string // in etcd's order and spelling
}{
	{"/v2/machines", false, "GET,HEAD"},
	{"/v2/stats/self", false, "GET"},
	{"/v2/stats/store", false, "GET"},
	{"/v2/stats/leader", false, "GET"},
	{"/v2/members", true, "GET,POST,DELETE,PUT"},
	{"/v2/auth/users", false, "GET"},
	{"/v2/auth/users/", true, "GET,PUT,DELETE"},
	{"/v2/auth/roles", false, "GET"},
	{"/v2/auth/roles/", true, "GET,PUT,DELETE"},
	{"/v2/auth/enable", false, "GET,PUT,DELETE"},
}

func serveOther(w http.ResponseWriter, r *http.Request) {
	for _, o := range others {
		below := o.below && strings.HasPrefix(r.URL.Path, strings.TrimSuffix(o.path, "/")+"/")
		if r.URL.Path != o.path && !below {
			continue
		}
		for _, method := range strings.Split(o.allow, ",") {
			if method == r.Method {
				http.NotFound(w, r)
				return
			}
		}
		refuseMethod(w, o.allow)
		return
	}
	http.NotFound(w, r)
}

func refuseMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
}
