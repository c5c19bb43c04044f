package check

import "testing"

// TestV2Users checks the rules in docs/formats/auth.md and in the recorded cases of v2's
// permissions.
func TestV2Users(t *testing.T) {
	s := NewState()
	do := func(r Request) (resp Response) {
		s, resp, _ = Step(s, r, 0, 0)
		return resp
	}
	for _, a := range []Auth{
		{Do: AuthUserAdd, Name: "root"},
		{Do: AuthUserGrant, Name: "root", Role: "root"},
		{Do: AuthUserAdd, Name: "u"},
		{Do: AuthRoleAdd, Name: "r"},
		{Do: AuthUserGrant, Name: "u", Role: "r"},
		{Do: AuthV2Grant, Name: "r", Permission: Permission{Key: "/d/", End: "/d0", Access: ReadWriteKeys}},
		{Do: AuthV2Grant, Name: "r", Permission: Permission{Key: "/", Access: ReadKeys}},
		{Do: AuthV2Enable},
	} {
		if resp := do(Request{Auth: &a, User: "root"}); resp.Err != "" {
			t.Fatalf("%v: %v", &a, resp)
		}
	}
	v2 := func(do, path string, recursive bool) *V2 { return &V2{Do: do, Path: path, Recursive: recursive} }
	change := func(do int, role, key, end string, access int) Request {
		return Request{User: "root", Auth: &Auth{Do: do, Name: role, Permission: Permission{Key: key, End: end, Access: access}}}
	}
	steps := []struct {
		r    Request
		err  string
		seen int // number of nodes
	}{
		{r: Request{V2: v2(V2Set, "/d/x", false), User: "u"}},
		{r: Request{V2: v2(V2Set, "/a", false), User: "u"}, err: ErrDenied},
		// the role guest, created by enabling authentication, permits everything
		{r: Request{V2: v2(V2Set, "/a", false), Guest: true}},
		{r: change(AuthV2Grant, guest, "/", "0", ReadKeys), err: ErrAuth},
		{r: change(AuthV2Revoke, guest, "/", "0", WriteKeys)},
		{r: change(AuthV2Revoke, guest, "/", "0", WriteKeys), err: ErrAuth},
		{r: Request{V2: v2(V2Set, "/a", false), Guest: true}, err: ErrDenied},
		{r: Request{V2: v2(V2Get, "/", true), Guest: true}, seen: 2},
		{r: Request{Put: &Put{Key: "/a"}, Guest: true}, err: ErrDenied}, // v3 has no guests
		// /d because of nodes in it, /a not at all
		{r: Request{V2: v2(V2Get, "/", false), User: "u"}, seen: 1},
		{r: Request{V2: v2(V2Get, "/", true), User: "u"}, err: ErrDenied},
		{r: Request{V2: v2(V2Get, "/d", true), User: "u"}, err: ErrDenied},
		{r: Request{V2: v2(V2Delete, "/d", true), User: "u"}},
		{r: Request{V2: v2(V2Get, "/d/x", false), User: "nobody"}, err: ErrDenied},
		{r: Request{V2: v2(V2Get, "/", true), User: "root"}, seen: 1},
	}
	for i, step := range steps {
		resp := do(step.r)
		if resp.Err != step.err || step.seen > 0 && len(resp.V2.Node.Nodes) != step.seen {
			t.Errorf("step %d, %v: %v, want %d nodes and error %q", i, step.r, resp, step.seen, step.err)
		}
	}
}
