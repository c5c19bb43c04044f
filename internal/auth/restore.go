package auth

import (
	"encoding/binary"

	"cairn/internal/codec"
	"cairn/internal/storage"
)

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
func Restore(b *storage.Batch, r *Restoration) { r.state().store(b) }

// Replace puts a table in the place of the current one, in the open batch. Tokens that were given
// out before are no longer valid.
func (t *Table) Replace(b *storage.Batch, r *Restoration) {
	for name := range t.next.users {
		b.Delete(userKey(name))
	}
	for name := range t.next.roles {
		b.Delete(roleKey(name))
	}
	b.Delete(tokenKeyKey())
	t.next = r.state()
	t.next.store(b)
}

// state returns the state that a restoration describes.
func (r *Restoration) state() *State {
	s := newState()
	s.Enabled, s.Revision = r.Enabled, max(r.Revision, 1)
	if s.Enabled {
		s.EnabledAt = s.Revision
	}
	for i := range r.Users {
		u := r.Users[i]
		s.users[u.Name] = &u
	}
	for _, restored := range r.Roles {
		role := &Role{Name: restored.Name}
		for _, p := range restored.Permissions {
			role.grant(p)
		}
		s.roles[role.Name] = role
	}
	return s
}

// store writes a whole state into a batch, but for the key of tokens.
func (s *State) store(b *storage.Batch) {
	b.Set(statusKey(), s.append(nil))
	for name, u := range s.users {
		b.Set(userKey(name), u.append(nil))
	}
	for name, role := range s.roles {
		b.Set(roleKey(name), role.append(nil))
	}
}

// Append writes the restoration as the command of a migration has it (docs/formats/migration.md).
func (r *Restoration) Append(dst []byte) []byte {
	enabled := byte(0)
	if r.Enabled {
		enabled = 1
	}
	dst = binary.AppendUvarint(append(dst, enabled), r.Revision)
	dst = binary.AppendUvarint(dst, uint64(len(r.Users)))
	for i := range r.Users {
		dst = r.Users[i].append(codec.AppendText(dst, r.Users[i].Name))
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Roles)))
	for i := range r.Roles {
		role := &r.Roles[i]
		dst = binary.AppendUvarint(codec.AppendText(dst, role.Name), uint64(len(role.Permissions)))
		for j := range role.Permissions {
			dst = role.Permissions[j].append(dst)
		}
	}
	return dst
}

// TakeRestoration is the inverse of Append. Nothing points into the reader's bytes.
func TakeRestoration(d *codec.Reader) (r Restoration) {
	enabled := d.Byte()
	if r.Enabled = enabled == 1; enabled > 1 {
		d.Fail("flag %d", enabled)
	}
	r.Revision = d.Uvarint()
	for n := d.Count(); n > 0 && d.Err() == nil; n-- {
		r.Users = append(r.Users, User{Name: d.Text(), Hash: d.Text(), Roles: d.OptionalTexts()})
	}
	for n := d.Count(); n > 0 && d.Err() == nil; n-- {
		role := RestoredRole{Name: d.Text()}
		for p := d.Count(); p > 0 && d.Err() == nil; p-- {
			role.Permissions = append(role.Permissions, takePermission(d))
		}
		r.Roles = append(r.Roles, role)
	}
	return r
}

// PatternPermission returns the permission that is equivalent to a pattern of v2.
func PatternPermission(pattern string, access Access) Permission {
	return Permission{KeyRange: rangeOf(pattern), Access: access}
}
