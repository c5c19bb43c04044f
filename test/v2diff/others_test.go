package v2diff

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestOthers sends requests for paths other than keys, authentication included, and for keys while
// it is enabled.
func TestOthers(t *testing.T) {
	for _, seed := range seeds(t, 1, 1) {
		p := newPair(t) // users and roles belong to the server, not to the seed
		g := newGenerator(seed)
		before := []string{}
		ask := func(r request) {
			before = append(before, r.String())
			ours, theirs := p.both(r)
			if how := differs(r, ours, theirs); how != "" && !differsOnPurpose(r, how, theirs) {
				t.Errorf("seed %d: %s\nthey differ in the %s\nours   %d %v %s\ntheirs %d %v %s\nbefore:\n%s", seed, r, how,
					ours.status, ours.header, ours.body, theirs.status, theirs.header, theirs.body,
					strings.Join(before[max(0, len(before)-12):], "\n"))
			}
		}
		for range 150 {
			ask(g.otherRequest())
		}
		// An empty user name makes Debian's etcd panic, so none is sent. It takes a tenth of a
		// second for each pair of credentials.
		ask(request{method: "PUT", target: "/v2/auth/users/root", body: `{"user":"root","password":"pw"}`, auth: basic("root", "pw")})
		ask(request{method: "PUT", target: "/v2/auth/enable"})
		for range 120 {
			r := g.otherRequest()
			if g.chance(2) {
				r = g.keysRequest("/" + g.pick("pub", "app", "x"))
			}
			if !g.chance(4) {
				r.auth = basic(g.pick("root", "root", "ann", "bob", "none"), g.pick("pw", "pw", "pw", "wrong"))
			} else if g.chance(10) {
				r.auth = g.pick("bm9jb2xvbg==", "not base64!")
			}
			ask(r)
		}
	}
}

// differsOnPurpose reports whether a response may differ. Users and roles take no index here;
// Debian's etcd panics at a guest's request without a role for guests; and the URLs of machines
// differ.
func differsOnPurpose(r request, how string, theirs answer) bool {
	return how == "X-Etcd-Index" || theirs.err != nil || r.target == "/v2/machines"
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// otherRequest makes a request for a path other than a key's. It does not change the members.
func (g *generator) otherRequest() request {
	if g.chance(4) {
		return request{
			method: g.pick("GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"),
			target: g.pick("/v2/machines", "/v2/machines/", "/v2/machines/x", "/v2/stats/self", "/v2/stats/store", "/v2/stats/leader", "/v2/stats", "/v2/stats/",
				"/v2/stats/self/", "/v2/stats/x", "/v2", "/v2/", "/v2/key", "/v2/keysx", "/v2/keys", "/v2/auth", "/v2/auth/", "/v2/auth/enable",
				"/v2/auth/enable/", "/v2/auth/x", "/v2/auth/users", "/v2/auth/users/", "/v2/auth/roles", "/v2/auth/roles/", "/v2/members/leader/x",
				"/v2/members/x", "/v2/leader", "/v2/admin", "/"),
			body: g.pick("", "x", "{}"),
		}
	}
	r := request{method: g.pick("PUT", "PUT", "PUT", "GET", "DELETE")}
	if g.chance(2) {
		return g.userRequest(r)
	}
	return g.roleRequest(r)
}

func (g *generator) userRequest(r request) request {
	name := g.pick("root", "ann", "ann", "bob", "bob", "none", "a%20b", "ann/", "a/b")
	if r.method == "DELETE" && name == "root" {
		name = "ann"
	}
	r.target = "/v2/auth/users/" + name
	if r.method != "PUT" {
		return r
	}
	if g.chance(15) {
		r.body = g.pick("", "nonsense", "[]", "null", `{"user":1}`, `{}`, `{"user":"ann"`)
		return r
	}
	var parts []string
	if !g.chance(15) {
		parts = append(parts, fmt.Sprintf(`"user":"%s"`, strings.ReplaceAll(strings.TrimSuffix(name, "/"), "%20", " ")))
	}
	if g.chance(2) {
		parts = append(parts, `"password":"`+g.pick("pw", "pw", "")+`"`)
	}
	for _, list := range []string{"roles", "grant", "revoke"} {
		if g.chance(3) {
			parts = append(parts, fmt.Sprintf(`"%s":[%s]`, list, g.pick(`"r1"`, `"r2"`, `"r1","r2"`, `"root"`, `"guest"`, `"none"`, `"r1","r1"`)))
		}
	}
	r.body = "{" + strings.Join(parts, ",") + "}"
	return r
}

func (g *generator) roleRequest(r request) request {
	name := g.pick("r1", "r1", "r2", "guest", "root", "none")
	r.target = "/v2/auth/roles/" + name
	if r.method != "PUT" {
		return r
	}
	if g.chance(15) {
		r.body = g.pick("", "nonsense", "[]", "null", `{"role":1}`, `{}`)
		return r
	}
	var parts []string
	if !g.chance(15) {
		parts = append(parts, fmt.Sprintf(`"role":"%s"`, name))
	}
	for _, list := range []string{"permissions", "grant", "revoke"} {
		if g.chance(3) {
			parts = append(parts, fmt.Sprintf(`"%s":{"kv":{"read":[%s],"write":[%s]}}`, list, g.patterns(), g.patterns()))
		}
	}
	r.body = "{" + strings.Join(parts, ",") + "}"
	return r
}

func (g *generator) patterns() string {
	return g.pick(``, ``, `"/*"`, `"*"`, `"/pub/*"`, `"/pub"`, `"/app/*"`, `"/app*"`, `"/x"`, `"/x/a","/x/b"`, `"/pub/*","/app/*"`, `""`, `"pub/*"`)
}
