package check

import (
	"slices"
	"strings"
)

// guest is the role of v2 requests without credentials.
const guest = "guest"

// pattern grants a role a pattern of v2, or revokes it. A pattern is a range of v3, too, but v2
// grants reading and writing separately: a permission that the role has already is not granted
// again, and a revoked one must exist.
func pattern(have []Permission, r *Auth) (all []Permission, bad bool) {
	want := r.Permission
	at := slices.IndexFunc(have, func(p Permission) bool { return p.Key == want.Key && p.End == want.End })
	all = slices.Clone(have)
	switch {
	case r.Do == AuthV2Grant && at < 0:
		return append(all, want), false
	case r.Do == AuthV2Grant:
		all[at].Access |= want.Access
		return all, have[at].Access&want.Access != 0
	case at < 0:
		return all, true
	}
	all[at].Access &^= want.Access
	bad = all[at].Access == have[at].Access
	if all[at].Access == 0 {
		all = slices.Delete(all, at, at+1)
	}
	return all, bad
}

// idle reports whether a request revokes a pattern that the role does not have. v2 refuses that if
// it leaves the role unchanged, where null and empty lists differ; the model does not have that
// detail, and no permission depends on it.
func (a *authState) idle(r *Auth) bool {
	if r.Do != AuthV2Revoke || r.Name == "root" {
		return false
	}
	_, ok := a.roles[r.Name]
	return ok
}

// reach has a user's permissions for v2's nodes.
type reach func(key, end string) bool

func (a *authState) reach(r Request, access int) reach {
	roles := a.users[r.User]
	if r.Guest {
		roles = []string{guest}
	}
	return func(key, end string) bool { return a.rolesMay(roles, key, end, access) }
}

// node reports whether the path itself is permitted, or, for a directory, everything that can be
// below it.
func (may reach) node(path string, dir bool) bool {
	return may(path, "") || dir && may(path+"/", "")
}

// permitsV2 checks the path of a request. For a recursive request, everything that begins with the
// path as sent must be permitted.
func (a *authState) permitsV2(r Request) bool {
	if r.V2.Do != V2Get {
		return a.reach(r, WriteKeys).node(r.V2.Path, true)
	}
	end := ""
	if r.V2.Recursive {
		end = r.V2.Path[:len(r.V2.Path)-1] + string(r.V2.Path[len(r.V2.Path)-1]+1)
	}
	return a.reach(r, ReadKeys)(r.V2.Path, end)
}

// limitedV2 executes a request of v2 whose path is permitted, but perhaps not everything that it
// changes or shows.
func (x *step) limitedV2(r Request) Response {
	a := x.s.auth
	resp := x.v2(r.V2)
	if !a.enabled || !r.Guest && slices.Contains(a.users[r.User], "root") || resp.Err != "" {
		return resp
	}
	if r.V2.Do == V2Get {
		resp.V2.Node.Nodes = a.reach(r, ReadKeys).shown(resp.V2.Node.Nodes)
		return resp
	}
	// Permission to write a queue is permission to add to it, whatever the new key's name.
	if r.V2.Do == V2CreateInOrder {
		return resp
	}
	may := a.reach(r, WriteKeys)
	denied := func(e Event) bool {
		// The path itself was permitted; a key hidden by a removed directory was not named.
		named := e.KV.Key == r.V2.Path && (resp.V2.Prev == nil || !resp.V2.Prev.Dir)
		return !e.Dir && !named && !may(e.KV.Key, "")
	}
	if slices.ContainsFunc(x.events, denied) {
		return Response{Err: ErrDenied}
	}
	return resp
}

// shown returns the nodes of a directory that the user may read.
func (may reach) shown(nodes []V2Node) (seen []V2Node) {
	for _, n := range nodes {
		if !may.node(strings.TrimSuffix(n.Key, "/"), n.Dir) {
			continue
		}
		n.Nodes = may.shown(n.Nodes)
		seen = append(seen, n)
	}
	return seen
}
