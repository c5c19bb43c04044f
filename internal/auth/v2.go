package auth

import "slices"

// v2User creates or changes a user as v2 does.
func (c *change) v2User() (u *User, created bool, err error) {
	old := c.next.users[c.Name]
	switch {
	case old == nil && c.Kind == KindV2UserUpdate:
		return nil, false, c.refuse(UserNotFound, "")
	case old == nil:
		u, err = c.v2NewUser()
		return u, err == nil && c.Kind == KindV2UserPut, err // etcd reports the creation only then
	case c.Kind == KindV2UserCreate && c.Hash == "": // etcd checks the password before it looks for the user
		return nil, false, c.refuse(PasswordEmpty, "")
	case c.Kind == KindV2UserCreate:
		return nil, false, c.refuse(UserExists, "")
	}
	u = &User{Name: c.Name, Hash: old.Hash}
	if c.Hash != "" {
		u.Hash = c.Hash
	}
	had := old.Roles
	if c.Name == RootName && !has(had, RootName) {
		had = with(had, RootName)
	}
	roles, at, ok := updated(had, c.Grant, nil)
	if !ok {
		return nil, false, c.refuse(RoleGranted, at)
	}
	for _, role := range c.Revoke {
		if !has(roles, role) {
			return nil, false, c.refuse(RoleNotGranted, role)
		}
		roles = without(roles, role)
	}
	if u.Roles = roles; u.Hash == old.Hash && same(u.Roles, had) {
		return nil, false, c.refuse(UserUnchanged, "")
	}
	// v2's root always has the role root, though the response says otherwise
	if c.Name == RootName && !has(roles, RootName) {
		kept := *u
		kept.Roles = with(roles, RootName)
		c.putUser(&kept)
		return u, false, nil
	}
	c.putUser(u)
	return u, false, nil
}

func (c *change) v2NewUser() (*User, error) {
	if c.Hash == "" {
		return nil, c.refuse(PasswordEmpty, "")
	}
	u := &User{Name: c.Name, Hash: c.Hash, Roles: c.Roles}
	if c.Name == RootName && !has(u.Roles, RootName) {
		u.Roles = append(slices.Clone(u.Roles), RootName)
	}
	c.putUser(u)
	return u, nil
}

func (c *change) v2CreateRole() (*Role, error) {
	switch {
	case c.Name == RootName:
		return nil, c.refuse(RoleIsRoot, "")
	case c.next.roles[c.Name] != nil:
		return nil, c.refuse(RoleExists, "")
	}
	r := &Role{Name: c.Name, Read: c.Read, Write: c.Write}
	c.putRole(r)
	return r, nil
}

// v2UpdateRole grants and revokes patterns. As in etcd, a revoked pattern need not be granted, as
// long as something changes.
func (c *change) v2UpdateRole() (*Role, error) {
	old := c.next.roles[c.Name]
	switch {
	case c.Name == RootName:
		return nil, c.refuse(RoleIsRoot, "")
	case old == nil:
		return nil, c.refuse(RoleNotFound, "")
	}
	r := &Role{Name: c.Name, Ranges: old.Ranges}
	var at string
	var ok bool
	if r.Read, at, ok = updated(old.Read, c.Read, c.RevokeRead); !ok {
		return nil, c.refuse(ReadGranted, at)
	}
	if r.Write, at, ok = updated(old.Write, c.Write, c.RevokeWrite); !ok {
		return nil, c.refuse(WriteGranted, at)
	}
	if same(r.Read, old.Read) && same(r.Write, old.Write) {
		return nil, c.refuse(RoleUnchanged, "")
	}
	c.putRole(r)
	return r, nil
}

// updated returns a list with the granted items and without the revoked ones, sorted and never nil.
// ok is false when a granted item is in the list already; at is that item.
func updated(list, grant, revoke []string) (out []string, at string, ok bool) {
	out = append([]string{}, list...)
	for _, g := range grant {
		if has(out, g) {
			return nil, g, false
		}
		out = append(out, g)
	}
	for _, r := range revoke {
		out = without(out, r)
	}
	slices.Sort(out)
	return slices.Compact(out), "", true
}

func has(list []string, s string) bool { return slices.Contains(list, s) }

// without returns a copy of a list without s.
func without(list []string, s string) []string {
	return slices.DeleteFunc(append([]string{}, list...), func(t string) bool { return t == s })
}

// with returns a sorted copy of a list with s.
func with(list []string, s string) []string {
	out := append(without(list, s), s)
	slices.Sort(out)
	return out
}

// same compares lists; nil differs from empty.
func same(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }
