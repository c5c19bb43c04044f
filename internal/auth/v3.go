package auth

import "slices"

// v3User creates or changes a user as v3 does.
func (c *change) v3User() error {
	old := c.next.users[c.Name]
	if c.Kind == KindV3UserAdd {
		switch {
		case c.Name == "":
			return c.refuse(UserNameEmpty, "")
		case old != nil:
			return c.refuse(UserExists, "")
		}
		c.putUser(&User{Name: c.Name, Hash: c.Hash})
		return nil
	}
	if old == nil {
		return c.refuse(UserNotFound, "")
	}
	u := &User{Name: c.Name, Hash: old.Hash, Roles: old.Roles}
	switch c.Kind {
	case KindV3UserPassword:
		u.Hash = c.Hash
	case KindV3UserGrant:
		if c.Role != RootName && c.next.roles[c.Role] == nil {
			return c.refuse(RoleNotFound, c.Role)
		}
		u.Roles = with(old.Roles, c.Role) // granting a role that the user has is no error in etcd
	case KindV3UserRevoke:
		switch {
		case c.next.Enabled && c.Name == RootName && c.Role == RootName:
			return c.refuse(RootUserNeeded, "")
		case !has(old.Roles, c.Role):
			return c.refuse(RoleNotGranted, c.Role)
		}
		u.Roles = without(old.Roles, c.Role)
	}
	c.putUser(u)
	return nil
}

// v3Role creates or changes a role as v3 does. The role root can be created, and shows no
// permissions of its own.
func (c *change) v3Role() error {
	old := c.next.roles[c.Name]
	switch {
	case c.Kind == KindV3RoleAdd && c.Name == "":
		return c.refuse(RoleNameEmpty, "")
	case c.Kind == KindV3RoleAdd && old != nil:
		return c.refuse(RoleExists, "")
	case c.Kind == KindV3RoleAdd:
		c.putRole(&Role{Name: c.Name})
		return nil
	case old == nil:
		return c.refuse(RoleNotFound, "")
	}
	if c.Kind == KindV3RoleGrant && (len(c.Permission.Key) == 0 || c.Permission.Empty()) {
		return c.refuse(PermissionEmpty, "")
	}
	r := &Role{Name: c.Name, Read: old.Read, Write: old.Write, Ranges: old.Ranges}
	found := r.revoke(c.Permission)
	switch {
	case c.Kind == KindV3RoleGrant:
		r.grant(c.Permission)
	case !found:
		return c.refuse(PermissionNotGranted, "")
	}
	c.putRole(r)
	return nil
}

// grant adds a permission that the role does not have.
func (r *Role) grant(p Permission) {
	pattern, ok := patternOf(p.KeyRange)
	if !ok {
		r.Ranges = append(slices.Clone(r.Ranges), p)
		return
	}
	if p.Access&Read != 0 {
		r.Read = with(r.Read, pattern)
	}
	if p.Access&Write != 0 {
		r.Write = with(r.Write, pattern)
	}
}

// revoke removes all access to exactly the given range, and reports whether there was any.
func (r *Role) revoke(p Permission) (found bool) {
	if pattern, ok := patternOf(p.KeyRange); ok {
		found = has(r.Read, pattern) || has(r.Write, pattern)
		if has(r.Read, pattern) {
			r.Read = without(r.Read, pattern)
		}
		if has(r.Write, pattern) {
			r.Write = without(r.Write, pattern)
		}
		return found
	}
	left := slices.DeleteFunc(slices.Clone(r.Ranges), func(o Permission) bool { return sameRange(o.KeyRange, p.KeyRange) })
	found = len(left) < len(r.Ranges)
	r.Ranges = left
	return found
}
