package console

import (
	"fmt"
	"slices"
	"strings"

	"cairn/internal/auth"
	"cairn/internal/kv"
)

// grantJSON is a permission of a role.
type grantJSON struct {
	Role       string         `json:"role"`
	Permission permissionJSON `json:"permission"`
}

type permissionJSON struct {
	Key  base64Bytes `json:"key"`
	End  base64Bytes `json:"range_end"`
	Type string      `json:"type"`
}

// verdictJSON is whether a user may do one thing, and why.
type verdictJSON struct {
	Allowed bool        `json:"allowed"`
	Root    bool        `json:"root"`
	By      []grantJSON `json:"by"`
	Reason  string      `json:"reason"`
}

type permissionResponse struct {
	User  string      `json:"user"`
	Roles []string    `json:"roles"`
	Read  verdictJSON `json:"read"`
	Write verdictJSON `json:"write"`
}

// permission returns whether a user may read and write a key or a range, and which permissions
// decide. Other users than root may request it only for themselves.
func (c *call) permission() (any, error) {
	var in permissionRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	of := kv.KeyRange{Key: in.Key, End: in.End}
	if len(in.Key) == 0 {
		return nil, invalidf("key is empty")
	}
	if of.Empty() {
		return nil, invalidf("range_end is not behind the key")
	}
	var out permissionResponse
	err := c.read(func(caller *auth.Caller) error {
		own := caller.Actor != nil && caller.Actor.Name == in.User
		if err := auth.PermitRoot(caller.Subject); err != nil && !own {
			return err
		}
		state := c.member.Gate().State()
		u := state.User(in.User)
		if u == nil {
			return auth.UserNotFound
		}
		out = permissionResponse{User: u.Name, Roles: notNil(u.Roles), Read: judge(state, u, of, auth.Read), Write: judge(state, u, of, auth.Write)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// judge returns whether a user has access to a range: by the role root, by one permission, or by
// several whose ranges together cover it.
func judge(state *auth.State, u *auth.User, of kv.KeyRange, access auth.Access) verdictJSON {
	v := verdictJSON{By: []grantJSON{}}
	verb := map[auth.Access]string{auth.Read: "read", auth.Write: "write"}[access]
	if slices.Contains(u.Roles, auth.RootName) {
		v.Allowed, v.Root, v.Reason = true, true, fmt.Sprintf("role root permits everything, so %s may %s it", u.Name, verb)
		return v
	}
	var touching []grantJSON
	var ranges []auth.Permission
	for _, name := range u.Roles {
		role := state.Role(name)
		if role == nil {
			continue
		}
		for _, p := range role.Permissions() {
			if p.Access&access == 0 || !overlap(p.KeyRange, of) {
				continue
			}
			grant := grantJSON{Role: name, Permission: permissionJSON{Key: p.Key, End: p.End, Type: typeOf(p.Access)}}
			if auth.Covers([]auth.Permission{p}, access, of) {
				v.Allowed, v.By = true, []grantJSON{grant}
				v.Reason = fmt.Sprintf("a permission of role %s covers it, so %s may %s it", name, u.Name, verb)
				return v
			}
			touching, ranges = append(touching, grant), append(ranges, p)
		}
	}
	if auth.Covers(ranges, access, of) {
		v.Allowed, v.By = true, touching
		v.Reason = fmt.Sprintf("the permissions of several ranges together cover it, so %s may %s it", u.Name, verb)
		return v
	}
	switch {
	case len(u.Roles) == 0:
		v.Reason = fmt.Sprintf("%s has no role, so %s may not %s it", u.Name, u.Name, verb)
	case len(touching) > 0:
		v.Reason = fmt.Sprintf("the permissions of roles %s cover only a part of it, so %s may not %s it", strings.Join(u.Roles, ", "), u.Name, verb)
	default:
		v.Reason = fmt.Sprintf("no role of %s (%s) has a permission to %s it", u.Name, strings.Join(u.Roles, ", "), verb)
	}
	return v
}

func typeOf(a auth.Access) string {
	return map[auth.Access]string{auth.Read: "READ", auth.Write: "WRITE", auth.ReadWrite: "READWRITE"}[a]
}

// overlap reports whether two ranges have a key in common.
func overlap(a, b kv.KeyRange) bool {
	return !a.Empty() && (a.Contains(b.Key) || b.Contains(a.Key))
}
