package sim

import (
	"fmt"

	"cairn/check"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/v2tree"
)

// v2UsersWork uses the v2 tree as users and as a guest, while their permissions change.
type v2UsersWork struct {
	step int
	tree v2Work
}

// v2UsersSetup enables authentication through v2. Steps that another client has done already are
// refused, which is fine.
var v2UsersSetup = []check.Auth{
	{Do: check.AuthUserAdd, Name: "root"},
	{Do: check.AuthUserGrant, Name: "root", Role: "root"},
	{Do: check.AuthUserAdd, Name: "u1"},
	{Do: check.AuthUserAdd, Name: "u2"},
	{Do: check.AuthRoleAdd, Name: "r1"},
	{Do: check.AuthRoleAdd, Name: "r2"},
	{Do: check.AuthV2Grant, Name: "r1", Permission: check.Permission{Key: "/d/", End: "/d0", Access: check.ReadWriteKeys}},
	{Do: check.AuthV2Grant, Name: "r1", Permission: check.Permission{Key: "/", Access: check.ReadKeys}},
	{Do: check.AuthV2Grant, Name: "r2", Permission: check.Permission{Key: "/", End: "0", Access: check.ReadKeys}},
	{Do: check.AuthUserGrant, Name: "u1", Role: "r1"},
	{Do: check.AuthUserGrant, Name: "u2", Role: "r2"},
	{Do: check.AuthV2Enable},
}

// v2Patterns are the patterns that are granted and revoked: keys and prefixes.
var v2Patterns = []check.Permission{
	{Key: "/", End: "0"},
	{Key: "/d/", End: "/d0"},
	{Key: "/d", End: "/e"},
	{Key: "/d/e/", End: "/d/e0"},
	{Key: "/"},
	{Key: "/a"},
	{Key: "/d"},
	{Key: "/d/x"},
	{Key: "/q"},
	{Key: "/q/", End: "/q0"},
}

func (v *v2UsersWork) next(c *client) check.Request {
	if v.step < len(v2UsersSetup) {
		v.step++
		change := v2UsersSetup[v.step-1]
		return check.Request{Auth: &change, User: "root"}
	}
	if c.rng.IntN(4) == 0 {
		return check.Request{Auth: v.change(c), User: "root"}
	}
	r := v.tree.next(c)
	if r.V2.Do == check.V2Get {
		// the permissions for an older state are not known, so there must be none
		r.V2.Linearized = true
	}
	switch who := c.rng.IntN(7); {
	case who < 3:
		r.Guest = true
	case who == 6:
		r.User = "root"
	default:
		r.User = fmt.Sprintf("u%d", 1+who%2)
	}
	return r
}

func (v *v2UsersWork) heard(c *client, r *check.Request, resp *check.Response, known bool) {
	v.tree.heard(c, r, resp, known)
}

// change draws a change of users' and roles' permissions.
func (*v2UsersWork) change(c *client) *check.Auth {
	role := []string{"r1", "r2", "guest", "guest"}[c.rng.IntN(4)]
	p := v2Patterns[c.rng.IntN(len(v2Patterns))]
	p.Access = 1 + c.rng.IntN(3)
	user := fmt.Sprintf("u%d", 1+c.rng.IntN(2))
	switch c.rng.IntN(16) {
	case 0, 1, 2, 3:
		return &check.Auth{Do: check.AuthV2Grant, Name: role, Permission: p}
	case 4, 5, 6, 7, 8:
		return &check.Auth{Do: check.AuthV2Revoke, Name: role, Permission: p}
	case 9:
		return &check.Auth{Do: check.AuthRoleGrant, Name: role, Permission: p}
	case 10:
		return &check.Auth{Do: check.AuthRoleRevoke, Name: role, Permission: p}
	case 11:
		return &check.Auth{Do: check.AuthRoleDelete, Name: role}
	case 12:
		return &check.Auth{Do: check.AuthRoleAdd, Name: role}
	case 13:
		return &check.Auth{Do: check.AuthUserRevoke, Name: user, Role: role}
	case 14:
		return &check.Auth{Do: check.AuthUserGrant, Name: user, Role: role}
	default:
		return &check.Auth{Do: []int{check.AuthDisable, check.AuthV2Enable, check.AuthEnable}[c.rng.IntN(3)]}
	}
}

// v2AuthCommand is authCommand for requests of v2.
func v2AuthCommand(a *check.Auth) *auth.Command {
	c := &auth.Command{Kind: authKinds[a.Do], V2: true, Name: a.Name}
	if a.Do == check.AuthV2Enable {
		return c
	}
	pattern := a.Permission.Key
	if end := a.Permission.End; end != "" {
		pattern += "*"
	}
	read, write := &c.Read, &c.Write
	if a.Do == check.AuthV2Revoke {
		read, write = &c.RevokeRead, &c.RevokeWrite
	}
	if a.Permission.Access&check.ReadKeys != 0 {
		*read = []string{pattern}
	}
	if a.Permission.Access&check.WriteKeys != 0 {
		*write = []string{pattern}
	}
	return c
}

// mayGetV2 reports whether a get is permitted; package v2http checks the same before it responds.
func mayGetV2(who *auth.Subject, r *check.V2) bool {
	wanted := kv.KeyRange{Key: []byte(r.Path)}
	if r.Recursive {
		wanted = auth.Prefix([]byte(r.Path))
	}
	return who.CanRead(wanted)
}

// showV2 removes nodes without permission from a directory, as package v2http does.
func showV2(who *auth.Subject, n *v2tree.Node) {
	kept := n.Nodes[:0]
	for i := range n.Nodes {
		child := &n.Nodes[i]
		if machine.PermitV2Key(who.CanRead, child.Key, child.Dir) {
			showV2(who, child)
			kept = append(kept, *child)
		}
	}
	n.Nodes = kept
}
