package auth

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// What follows the table's letter in a key.
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
	return appendTexts(appendText(dst, u.Hash), u.Roles)
}

func (r *Role) append(dst []byte) []byte {
	dst = appendTexts(appendTexts(dst, r.Read), r.Write)
	dst = binary.AppendUvarint(dst, uint64(len(r.Ranges)))
	for i := range r.Ranges {
		dst = r.Ranges[i].append(dst)
	}
	return dst
}

func (p *Permission) append(dst []byte) []byte {
	return appendText(appendText(append(dst, byte(p.Access)), string(p.Key)), string(p.End))
}

// read takes one record of the table.
func (s *State) read(key, value []byte) error {
	r := reader{b: value}
	switch name := string(key[min(2, len(key)):]); {
	case len(key) < 2:
		r.fail()
	case key[1] == recordStatus && name == "":
		s.Enabled, s.Revision, s.EnabledAt = r.byte() == 1, r.uvarint(), r.uvarint()
	case key[1] == recordKey && name == "":
		s.tokenKey, r.b = bytes.Clone(r.b), nil
	case key[1] == recordUser:
		s.users[name] = &User{Name: name, Hash: r.text(), Roles: r.texts()}
	case key[1] == recordRole:
		role := &Role{Name: name, Read: r.texts(), Write: r.texts()}
		for n := r.length(); n > 0 && !r.bad; n-- {
			role.Ranges = append(role.Ranges, r.permission())
		}
		s.roles[name] = role
	default:
		r.fail()
	}
	if !r.whole() {
		return fmt.Errorf("%w: record %q", ErrCorrupt, key) // not its value: a hash is nobody's business
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendTexts writes a list, 0 for none and otherwise its length and one.
func appendTexts(dst []byte, texts []string) []byte {
	if texts == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(texts))+1)
	for _, s := range texts {
		dst = appendText(dst, s)
	}
	return dst
}

// reader reads the pieces of a record or command; after the first that does not fit all are zero and bad is set. What it
// returns is copied.
type reader struct {
	b   []byte
	bad bool
}

// whole says whether everything fitted and nothing is left.
func (r *reader) whole() bool { return !r.bad && len(r.b) == 0 }

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length reads the length of something whose items take a byte or more each.
func (r *reader) length() int {
	v := r.uvarint()
	if v > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) text() string {
	n := r.length()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) texts() []string {
	n := r.uvarint()
	if n == 0 || n-1 > uint64(len(r.b)) {
		if n != 0 {
			r.fail()
		}
		return nil
	}
	texts := make([]string, 0, n-1)
	for ; n > 1 && !r.bad; n-- {
		texts = append(texts, r.text())
	}
	return texts
}

func (r *reader) permission() Permission {
	p := Permission{Access: Access(r.byte())}
	key, end := r.text(), r.text()
	p.KeyRange = kv.KeyRange{Key: []byte(key)}
	if end != "" {
		p.End = []byte(end)
	}
	if p.Access == 0 || p.Access&^ReadWrite != 0 {
		r.fail()
	}
	return p
}
