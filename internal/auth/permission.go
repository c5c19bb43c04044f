package auth

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"cairn/internal/kv"
)

// Access is a set of operations on keys. The values are stored; never renumber them.
type Access byte

// The kinds of access.
const (
	Read      Access = 1
	Write     Access = 2
	ReadWrite        = Read | Write
)

// Permission allows access to the keys of a range.
type Permission struct {
	kv.KeyRange
	Access Access
}

// allKeys is v3's encoding of the range of all keys.
var allKeys = kv.KeyRange{Key: []byte{0}, End: []byte{0}}

// rangeOf returns the range with the same keys as a pattern of v2.
func rangeOf(pattern string) kv.KeyRange {
	prefix, ok := strings.CutSuffix(pattern, "*")
	switch {
	case !ok:
		return kv.KeyRange{Key: []byte(pattern)}
	case prefix == "":
		return allKeys
	default:
		return Prefix([]byte(prefix))
	}
}

// Prefix returns the range of the keys that begin with prefix, which must not be empty.
func Prefix(prefix []byte) kv.KeyRange {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return kv.KeyRange{Key: prefix, End: end[:i+1]}
		}
	}
	return kv.KeyRange{Key: prefix, End: []byte{0}}
}

// patternOf returns the pattern with the same keys as a range, if there is one: patterns begin with
// a slash, and an asterisk at the end is a wildcard.
func patternOf(r kv.KeyRange) (pattern string, ok bool) {
	if bytes.Equal(r.Key, allKeys.Key) && bytes.Equal(r.End, allKeys.End) {
		return "*", true
	}
	if len(r.Key) == 0 || r.Key[0] != '/' || !utf8.Valid(r.Key) {
		return "", false
	}
	if r.SingleKey() {
		return string(r.Key), r.Key[len(r.Key)-1] != '*'
	}
	return string(r.Key) + "*", bytes.Equal(Prefix(r.Key).End, r.End)
}

// Permissions returns all permissions of the role, as v3 shows them, sorted by key.
func (r *Role) Permissions() []Permission {
	access := map[string]Access{}
	for _, p := range r.Read {
		access[p] |= Read
	}
	for _, p := range r.Write {
		access[p] |= Write
	}
	all := slices.Clone(r.Ranges)
	for pattern, a := range access {
		all = append(all, Permission{rangeOf(pattern), a})
	}
	slices.SortFunc(all, func(a, b Permission) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return bytes.Compare(a.End, b.End)
	})
	return all
}

// span is a range of keys, without end when end is nil.
type span struct{ key, end []byte }

func spanOf(r kv.KeyRange) span {
	switch {
	case r.SingleKey():
		return span{r.Key, append(bytes.Clone(r.Key), 0)}
	case r.Unbounded():
		return span{r.Key, nil}
	default:
		return span{r.Key, r.End}
	}
}

// reaches reports whether s, which does not begin after o, includes everything up to the end of o.
func (s span) reaches(o span) bool {
	return s.end == nil || o.end != nil && bytes.Compare(o.end, s.end) <= 0
}

// spans are sorted ranges that neither overlap nor touch.
type spans []span

// merge returns the union of ranges as spans.
func merge(ranges []kv.KeyRange) spans {
	var all spans
	for _, r := range ranges {
		if !r.Empty() && (len(r.Key) > 0 || !r.SingleKey()) {
			all = append(all, spanOf(r))
		}
	}
	slices.SortFunc(all, func(a, b span) int { return bytes.Compare(a.key, b.key) })
	var out spans
	for _, s := range all {
		last := len(out) - 1
		switch {
		case last < 0 || out[last].end != nil && bytes.Compare(s.key, out[last].end) > 0:
			out = append(out, s)
		case !out[last].reaches(s):
			out[last].end = s.end
		}
	}
	return out
}

// cover reports whether the spans include all keys that a range can have.
func (all spans) cover(r kv.KeyRange) bool {
	want := spanOf(r)
	if r.Empty() {
		// an empty range: the permission for its first key is required
		want = spanOf(kv.KeyRange{Key: r.Key})
	}
	i, found := slices.BinarySearchFunc(all, want.key, func(s span, key []byte) int { return bytes.Compare(s.key, key) })
	if !found {
		i--
	}
	return i >= 0 && (all[i].end == nil || bytes.Compare(want.key, all[i].end) < 0) && all[i].reaches(want)
}

// Covers reports whether the permissions of a kind of access together include all keys that a range
// can have.
func Covers(permissions []Permission, access Access, r kv.KeyRange) bool {
	var ranges []kv.KeyRange
	for _, p := range permissions {
		if p.Access&access != 0 {
			ranges = append(ranges, p.KeyRange)
		}
	}
	return merge(ranges).cover(r)
}

// Subject has the permissions of a user or guest as of one State.
type Subject struct {
	root        bool
	read, write spans
}

// unrestricted is the subject of every request while authentication is disabled.
var unrestricted = &Subject{root: true}

// Root reports whether the subject may do everything.
func (s *Subject) Root() bool { return s.root }

// CanRead reports whether the subject may read all keys of a range.
func (s *Subject) CanRead(r kv.KeyRange) bool { return s.root || s.read.cover(r) }

// CanWrite reports whether the subject may write all keys of a range.
func (s *Subject) CanWrite(r kv.KeyRange) bool { return s.root || s.write.cover(r) }

// Readable yields the ranges of readable keys in order: [from, to), where to nil means the end of
// the key space. They neither overlap nor touch.
func (s *Subject) Readable() iter.Seq2[[]byte, []byte] { return s.ranges(s.read) }

// Writable yields the ranges of writable keys, as Readable does.
func (s *Subject) Writable() iter.Seq2[[]byte, []byte] { return s.ranges(s.write) }

func (s *Subject) ranges(of spans) iter.Seq2[[]byte, []byte] {
	return func(yield func(from, to []byte) bool) {
		if s.root {
			yield(nil, nil)
			return
		}
		for _, r := range of {
			if !yield(r.key, r.end) {
				return
			}
		}
	}
}

// Unreadable yields the gaps between the readable keys: [from, to), where to nil means the end of
// the key space.
func (s *Subject) Unreadable() iter.Seq2[[]byte, []byte] { return s.gaps(s.read) }

// Unwritable yields the gaps between the writable keys, as Unreadable does.
func (s *Subject) Unwritable() iter.Seq2[[]byte, []byte] { return s.gaps(s.write) }

func (s *Subject) gaps(between spans) iter.Seq2[[]byte, []byte] {
	return func(yield func(from, to []byte) bool) {
		if s.root {
			return
		}
		var from []byte
		for _, w := range between {
			if !yield(from, w.key) {
				return
			}
			if from = w.end; from == nil {
				return
			}
		}
		yield(from, nil)
	}
}

// subject returns the union of the roles' permissions.
func (s *State) subject(roles []string) *Subject {
	var read, write []kv.KeyRange
	for _, name := range roles {
		if name == RootName {
			return &Subject{root: true}
		}
		role := s.roles[name]
		if role == nil {
			continue
		}
		for _, p := range role.Permissions() {
			if p.Access&Read != 0 {
				read = append(read, p.KeyRange)
			}
			if p.Access&Write != 0 {
				write = append(write, p.KeyRange)
			}
		}
	}
	return &Subject{read: merge(read), write: merge(write)}
}

// stranger is the subject of a certificate whose common name is no user's.
var stranger = new(Subject)

// Stranger reports whether the caller has a certificate whose common name is the name of no user.
// As in etcd it is identified and has no permissions: it may call what every user may.
func (s *Subject) Stranger() bool { return s == stranger }

// Subject returns the permissions of an actor, or nil when there is no such user.
func (s *State) Subject(a *Actor) *Subject {
	if !s.Enabled {
		return unrestricted
	}
	if a.Guest {
		s.guest.Do(func() { s.guestIs = s.subject([]string{GuestRole}) })
		return s.guestIs
	}
	if found, ok := s.subjects.Load(a.Name); ok {
		return found.(*Subject)
	}
	u := s.users[a.Name]
	switch {
	case u == nil && a.Certificate:
		return stranger
	case u == nil:
		return nil
	}
	found, _ := s.subjects.LoadOrStore(a.Name, s.subject(u.Roles))
	return found.(*Subject)
}
