package v2diff

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestPathsAsSent compares the access of users with random permissions to paths that end with a
// slash and without: both name one node, and permissions match the path as it was sent.
func TestPathsAsSent(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	root := basic("root", "pw")
	for _, seed := range seeds(t, 1, 1) {
		p := newPair(t)
		g := newGenerator(seed)
		var before []string
		ask := func(r request) {
			before = append(before, r.String())
			ours, theirs := p.both(r)
			how := differs(r, ours, theirs)
			// Of a directory ours shows the nodes that the user may read, and theirs everything.
			if how == "body" && r.method == "GET" && strings.Contains(theirs.body, `"dir":true`) || how == "X-Etcd-Index" {
				return
			}
			if how != "" {
				t.Errorf("seed %d: %s\nthey differ in the %s\nours   %d %v %s\ntheirs %d %v %s\nbefore:\n%s", seed, r, how,
					ours.status, ours.header, ours.body, theirs.status, theirs.header, theirs.body,
					strings.Join(before[max(0, len(before)-12):], "\n"))
			}
		}
		for _, r := range []request{
			{target: "users/root", body: `{"user":"root","password":"pw"}`},
			{target: "users/ann", body: `{"user":"ann","password":"pw"}`},
			{target: "roles/r", body: `{"role":"r","permissions":{"kv":{"read":[],"write":[]}}}`},
			{target: "users/ann", body: `{"user":"ann","grant":["r"]}`},
			{target: "enable"},
		} {
			r.method, r.target = "PUT", "/v2/auth/"+r.target
			ask(r)
		}
		for range 20 {
			ask(request{method: "DELETE", target: "/v2/auth/roles/r", auth: root})
			ask(request{method: "PUT", target: "/v2/auth/roles/r", auth: root, body: fmt.Sprintf(
				`{"role":"r","permissions":{"kv":{"read":[%s],"write":[%s]}}}`, g.pathPatterns(), g.pathPatterns())})
			for range 12 {
				r := request{method: g.pick("GET", "GET", "PUT", "PUT", "POST", "DELETE"), auth: basic("ann", "pw")}
				r.target = "/v2/keys" + g.pick("", "/", "/f", "/f", "/f/", "/f/", "/d", "/d/", "/d/k", "/d/k/", "/f/below", "/ff")
				if g.chance(4) {
					r.auth = root
				}
				switch r.method {
				case "PUT", "POST":
					r.contentType = form
					r.body = g.pick("value=x", "value=x", "value=y&prevExist=true", "dir=true", "value=z&prevValue=x")
				case "DELETE":
					r.target += g.pick("", "?recursive=true", "?dir=true", "?prevValue=x")
				default:
					r.target += g.pick("", "", "?recursive=true", "?quorum=true")
				}
				ask(r)
			}
		}
	}
}

// pathPatterns draws patterns that have some of the paths of TestPathsAsSent.
func (g *generator) pathPatterns() string {
	all := []string{`"/f"`, `"/f/*"`, `"/f*"`, `"/d"`, `"/d/*"`, `"/d/"`, `"/d/k"`, `"/d/k/*"`, `"/*"`}
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return strings.Join(slices.Clone(all[:g.IntN(4)]), ",")
}
