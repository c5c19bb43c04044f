package check

import (
	"fmt"
	"maps"
	"slices"
)

// Requests about users and roles.
const (
	AuthEnable = iota
	AuthDisable
	AuthUserAdd
	AuthUserDelete
	AuthUserGrant  // Role
	AuthUserRevoke // Role
	AuthRoleAdd
	AuthRoleDelete
	AuthRoleGrant  // Permission
	AuthRoleRevoke // the range of Permission
	AuthV2Enable   // as AuthEnable, for a request of v2
	AuthV2Grant    // Permission to a role, as a pattern of v2
	AuthV2Revoke
)

// Kinds of permissions.
const (
	ReadKeys      = 1
	WriteKeys     = 2
	ReadWriteKeys = 3
)

// Permission allows access to the keys of a range.
type Permission struct {
	Key, End string
	Access   int
}

// Auth is one request about users and roles. Names that begin with "root" have their meaning in
// etcd.
type Auth struct {
	Do         int
	Name       string // of the user or role
	Role       string
	Permission Permission
}

func (a *Auth) String() string {
	do := []string{
		"enable", "disable", "user add", "user delete", "user grant", "user revoke",
		"role add", "role delete", "role grant", "role revoke", "v2 enable", "v2 grant", "v2 revoke",
	}[a.Do]
	return fmt.Sprintf("auth %s %s%s", do, a.Name, notes(note{"role", a.Role}, note{"permission", fmt.Sprint(a.Permission)}))
}

// authState is the users, roles and permissions. It is immutable.
type authState struct {
	enabled bool
	users   map[string][]string
	roles   map[string][]Permission
}

func (a *authState) equal(b *authState) bool {
	return a == b || a.enabled == b.enabled && maps.EqualFunc(a.users, b.users, slices.Equal) && maps.EqualFunc(a.roles, b.roles, slices.Equal)
}

// apply returns the state after a request; on an error, which the model does not distinguish, it
// stays the same.
func (a *authState) apply(r *Auth) (*authState, string) {
	n := &authState{a.enabled, maps.Clone(a.users), maps.Clone(a.roles)}
	if n.users == nil {
		n.users, n.roles = map[string][]string{}, map[string][]Permission{}
	}
	roles, isUser := n.users[r.Name]
	permissions, isRole := n.roles[r.Name]
	var bad bool
	switch r.Do {
	case AuthEnable, AuthV2Enable:
		root, ok := n.users["root"]
		bad = n.enabled || !ok || r.Do == AuthEnable && !slices.Contains(root, "root")
		n.users["root"] = with(root, "root") // v2's root always has the role root
		n.enabled = true
		if _, has := n.roles[guest]; r.Do == AuthV2Enable && !has {
			n.roles[guest] = []Permission{{Key: "/", End: "0", Access: ReadWriteKeys}}
		}
	case AuthDisable:
		bad = !n.enabled
		n.enabled = false
	case AuthUserAdd:
		bad = isUser
		n.users[r.Name] = nil
	case AuthUserDelete:
		bad = !isUser || n.enabled && r.Name == "root"
		delete(n.users, r.Name)
	case AuthUserGrant:
		_, has := n.roles[r.Role]
		bad = !isUser || !has && r.Role != "root"
		n.users[r.Name] = with(roles, r.Role)
	case AuthUserRevoke:
		bad = !isUser || !slices.Contains(roles, r.Role) || n.enabled && r.Name == "root" && r.Role == "root"
		n.users[r.Name] = without(roles, func(role string) bool { return role == r.Role })
	case AuthRoleAdd:
		bad = isRole
		n.roles[r.Name] = nil
	case AuthRoleDelete:
		bad = !isRole || n.enabled && r.Name == "root"
		delete(n.roles, r.Name)
		for user, roles := range n.users {
			n.users[user] = without(roles, func(role string) bool { return role == r.Name })
		}
	case AuthV2Grant, AuthV2Revoke:
		bad = !isRole || r.Name == "root"
		if !bad {
			n.roles[r.Name], bad = pattern(permissions, r)
		}
	default:
		same := func(p Permission) bool { return p.Key == r.Permission.Key && p.End == r.Permission.End }
		bad = !isRole || r.Do == AuthRoleRevoke && !slices.ContainsFunc(permissions, same)
		permissions = without(permissions, same)
		if r.Do == AuthRoleGrant {
			permissions = append(permissions, r.Permission)
		}
		n.roles[r.Name] = permissions
	}
	if bad {
		return a, ErrAuth
	}
	return n, ""
}

func with(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	return append(slices.Clone(all), one)
}

func without[T any](all []T, remove func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(all), remove)
}

// permits reports whether the request's user may make it.
func (a *authState) permits(s *State, r Request) bool {
	if !a.enabled || !r.Guest && slices.Contains(a.users[r.User], "root") {
		return true
	}
	if _, ok := a.users[r.User]; r.Guest && r.V2 == nil || !r.Guest && !ok {
		return false
	}
	switch {
	case r.Compact != nil, r.Auth != nil, r.Member != nil:
		return false
	case r.Lease != nil:
		// Every user may grant and revoke leases; a revoke needs write permission for the attached
		// keys.
		return r.Lease.Do != Revoke || !slices.ContainsFunc(s.attached(r.Lease.ID), func(k record) bool {
			return !a.may(r.User, k.Key, "", WriteKeys)
		})
	case r.V2 != nil:
		return a.permitsV2(r)
	default:
		return a.permitsOp(r.User, r)
	}
}

func (a *authState) permitsOp(user string, r Request) bool {
	switch {
	case r.Range != nil:
		return a.may(user, r.Range.Key, r.Range.End, ReadKeys)
	case r.Put != nil:
		return a.may(user, r.Put.Key, "", WriteKeys) && (!r.Put.PrevKV || a.may(user, r.Put.Key, "", ReadKeys))
	case r.Delete != nil:
		return a.may(user, r.Delete.Key, r.Delete.End, WriteKeys) && (!r.Delete.PrevKV || a.may(user, r.Delete.Key, r.Delete.End, ReadKeys))
	}
	for _, c := range r.Txn.If {
		if !a.may(user, c.Key, c.End, ReadKeys) {
			return false
		}
	}
	for _, op := range append(slices.Clone(r.Txn.Then), r.Txn.Else...) {
		if !a.permitsOp(user, op) {
			return false
		}
	}
	return true
}

// may reports whether a user may access all keys of a range: it follows the range through the
// permissions, from the end of one to the next one that covers it.
func (a *authState) may(user, key, end string, access int) bool {
	return a.rolesMay(a.users[user], key, end, access)
}

func (a *authState) rolesMay(roles []string, key, end string, access int) bool {
	at, limit := key, end
	if end == "" {
		limit = key + "\x00"
	}
	for moved := true; moved; {
		moved = false
		for _, role := range roles {
			for _, p := range a.roles[role] {
				if p.Access&access == 0 || !InRange(at, p.Key, p.End) {
					continue
				}
				to := p.End
				switch to {
				case "\x00":
					return true
				case "":
					to = p.Key + "\x00"
				}
				if limit != "\x00" && to >= limit {
					return true
				}
				if to > at {
					at, moved = to, true
				}
			}
		}
	}
	return false
}
