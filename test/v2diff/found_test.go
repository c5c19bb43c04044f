package v2diff

import "testing"

// TestFound repeats the requests that the random tests have found to differ.
func TestFound(t *testing.T) {
	p := newPair(t)
	put := func(target, body, auth string) request {
		return request{method: "PUT", target: target, body: body, auth: auth}
	}
	const users = "/v2/auth/users/"
	for _, r := range []request{
		// A user without roles has no list of them.
		put(users+"ann", `{"user":"ann","password":"pw"}`, ""),
		{method: "GET", target: users + "ann"},
		// The password is checked before the user is looked up.
		put(users+"ann", `{"user":"ann","roles":["r1"]}`, ""),
		put(users+"ann", `{"user":"ann","password":"pw","roles":["r1"]}`, ""),
		// Root cannot lose its role, though the response says that it has.
		put(users+"root", `{"user":"root","password":"pw"}`, ""),
		put(users+"root", `{"user":"root","revoke":["root"]}`, ""),
		put(users+"root", `{"user":"root","revoke":["root"]}`, ""),
		put(users+"root", `{"user":"root","grant":["root"]}`, ""),
		{method: "GET", target: users + "root"},
		put("/v2/auth/enable", "", ""),
		{method: "GET", target: users, auth: basic("root", "pw")},
		// A user with write permission for a path may create in-order keys below it, and no other
		// key.
		put("/v2/auth/roles/box", `{"role":"box","permissions":{"kv":{"read":[],"write":["/box"]}}}`, basic("root", "pw")),
		put(users+"ann", `{"user":"ann","grant":["box"]}`, basic("root", "pw")),
		{method: "POST", target: "/v2/keys/box", body: "value=x&noValueOnSuccess=true", contentType: "application/x-www-form-urlencoded", auth: basic("ann", "pw")},
		{method: "PUT", target: "/v2/keys/box/x", body: "value=x", contentType: "application/x-www-form-urlencoded", auth: basic("ann", "pw")},
		{method: "POST", target: "/v2/keys/box/", body: "value=x", contentType: "application/x-www-form-urlencoded", auth: basic("ann", "pw")},
		// A star is not a path.
		{method: "GET", target: "*"},
		{method: "OPTIONS", target: "*"},
		// The pattern /* does not have the path /v2/keys, which has no slash.
		put("/v2/auth/roles/guest", `{"role":"guest","revoke":{"kv":{"read":[],"write":["/*"]}}}`, basic("root", "pw")),
		{method: "GET", target: "/v2/keys/"},
		{method: "GET", target: "/v2/keys"},
		{method: "HEAD", target: "/v2/keys"},
	} {
		ours, theirs := p.both(r)
		if how := differs(r, ours, theirs); how != "" && how != "X-Etcd-Index" {
			t.Errorf("%s\nthey differ in the %s\nours   %d %s\ntheirs %d %s", r, how, ours.status, ours.body, theirs.status, theirs.body)
		}
	}
}
