package auth

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Second byte of a key of the table.
const (
	recordStatus = 's'
	recordUser   = 'u'
	recordRole   = 'r'
	recordKey    = 'k'
)

func statusKey() []byte { return []byte{byte(storage.TableAuth), recordStatus} }

func tokenKeyKey() []byte { return []byte{byte(storage.TableAuth), recordKey} }

func userKey(name string) []byte {
	return append([]byte{byte(storage.TableAuth), recordUser}, name...)
}

func roleKey(name string) []byte {
	return append([]byte{byte(storage.TableAuth), recordRole}, name...)
}

func (s *State) append(dst []byte) []byte {
	var enabled byte
	if s.Enabled {
		enabled = 1
	}
	return binary.AppendUvarint(binary.AppendUvarint(append(dst, enabled), s.Revision), s.EnabledAt)
}

func (u *User) append(dst []byte) []byte {
	return codec.AppendOptionalTexts(codec.AppendText(dst, u.Hash), u.Roles)
}

func (r *Role) append(dst []byte) []byte {
	dst = codec.AppendOptionalTexts(codec.AppendOptionalTexts(dst, r.Read), r.Write)
	dst = binary.AppendUvarint(dst, uint64(len(r.Ranges)))
	for i := range r.Ranges {
		dst = r.Ranges[i].append(dst)
	}
	return dst
}

func (p *Permission) append(dst []byte) []byte {
	return codec.AppendBytes(codec.AppendBytes(append(dst, byte(p.Access)), p.Key), p.End)
}

// read decodes one record of the table.
func (s *State) read(key, value []byte) error {
	r := codec.NewReader(value)
	switch name := string(key[min(2, len(key)):]); {
	case len(key) < 2:
		r.Fail("no such record")
	case key[1] == recordStatus && name == "":
		s.Enabled, s.Revision, s.EnabledAt = r.Byte() == 1, r.Uvarint(), r.Uvarint()
	case key[1] == recordKey && name == "":
		s.tokenKey = bytes.Clone(r.Rest())
	case key[1] == recordUser:
		s.users[name] = &User{Name: name, Hash: r.Text(), Roles: r.OptionalTexts()}
	case key[1] == recordRole:
		role := &Role{Name: name, Read: r.OptionalTexts(), Write: r.OptionalTexts()}
		for n := r.Count(); n > 0 && r.Err() == nil; n-- {
			role.Ranges = append(role.Ranges, takePermission(&r))
		}
		s.roles[name] = role
	default:
		r.Fail("no such record")
	}
	if err := r.End(); err != nil {
		// without the value: it may contain a password hash
		return fmt.Errorf("%w: record %q: %w", ErrCorrupt, key, err)
	}
	return nil
}

func takePermission(r *codec.Reader) Permission {
	p := Permission{Access: Access(r.Byte())}
	key, end := r.Text(), r.Text()
	p.KeyRange = kv.KeyRange{Key: []byte(key)}
	if end != "" {
		p.End = []byte(end)
	}
	if p.Access == 0 || p.Access&^ReadWrite != 0 {
		r.Fail("access %d", p.Access)
	}
	return p
}

// fingerprint returns the records of all users and roles and the status, for comparison.
func (s *State) fingerprint() string {
	b := codec.AppendBytes(s.append(nil), s.tokenKey)
	for _, name := range s.UserNames() {
		b = s.users[name].append(codec.AppendText(b, name))
	}
	for _, name := range s.RoleNames() {
		b = s.roles[name].append(codec.AppendText(b, name))
	}
	return string(b)
}
