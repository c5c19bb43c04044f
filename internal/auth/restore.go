package auth

import "cairn/internal/storage"

// Restoration has the users and roles of another store.
type Restoration struct {
	Enabled  bool
	Revision uint64
	Users    []User
	Roles    []RestoredRole
}

// RestoredRole is a role with its permissions, as v3 shows them.
type RestoredRole struct {
	Name        string
	Permissions []Permission
}

// Restore writes users and roles into a batch of a store that has none. A permission whose range v2
// can express becomes a pattern.
func Restore(b *storage.Batch, r *Restoration) {
	s := newState()
	s.Enabled, s.Revision = r.Enabled, max(r.Revision, 1)
	if s.Enabled {
		s.EnabledAt = s.Revision
	}
	b.Set(statusKey(), s.append(nil))
	for i := range r.Users {
		b.Set(userKey(r.Users[i].Name), r.Users[i].append(nil))
	}
	for _, restored := range r.Roles {
		role := &Role{Name: restored.Name}
		for _, p := range restored.Permissions {
			role.grant(p)
		}
		b.Set(roleKey(role.Name), role.append(nil))
	}
}

// PatternPermission returns the permission that is equivalent to a pattern of v2.
func PatternPermission(pattern string, access Access) Permission {
	return Permission{KeyRange: rangeOf(pattern), Access: access}
}
