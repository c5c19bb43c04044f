package auth

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"cairn/internal/kv"
)

// Access says what may be done with keys. The values are stored; never renumber them.
type Access byte

// What may be done.
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

// everything is how v3 writes the range of all keys.
var everything = kv.KeyRange{Key: []byte{0}, End: []byte{0}}

// rangeOf returns the keys that a pattern of v2 has.
func rangeOf(pattern string) kv.KeyRange {
	prefix, ok := strings.CutSuffix(pattern, "*")
	switch {
	case !ok:
		return kv.KeyRange{Key: []byte(pattern)}
	case prefix == "":
		return everything
	default:
		return Prefix([]byte(prefix))
	}
}

// Prefix returns the range of the keys that begin with prefix, which is not empty.
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

// patternOf returns the pattern that has the keys of a range, if there is one: v2 names nothing
// that does not begin with a slash, and takes an asterisk at the end for what it means there.
func patternOf(r kv.KeyRange) (pattern string, ok bool) {
	if bytes.Equal(r.Key, everything.Key) && bytes.Equal(r.End, everything.End) {
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

// Permissions returns all that the role allows, as v3 shows it, in the order of the keys.
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

// reaches reports whether s, which does not begin behind o, has all up to the end of o.
func (s span) reaches(o span) bool {
	return s.end == nil || o.end != nil && bytes.Compare(o.end, s.end) <= 0
}

// spans are ranges in order that neither overlap nor touch.
type spans []span

// merge makes spans of ranges.
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

// cover reports whether all keys that a range can have are in the spans.
func (all spans) cover(r kv.KeyRange) bool {
	want := spanOf(r)
	if r.Empty() {
		want = spanOf(kv.KeyRange{Key: r.Key}) // it has no keys; who names one has to be allowed it
	}
	i, found := slices.BinarySearchFunc(all, want.key, func(s span, key []byte) int { return bytes.Compare(s.key, key) })
	if !found {
		i--
	}
	return i >= 0 && (all[i].end == nil || bytes.Compare(want.key, all[i].end) < 0) && all[i].reaches(want)
}

// Subject is what somebody may do as of one State.
type Subject struct {
	root        bool
	read, write spans
}

// anybody is everybody's subject while authentication is off.
var anybody = &Subject{root: true}

// Root reports whether everything is allowed.
func (s *Subject) Root() bool { return s.root }

// CanRead reports whether all keys of a range may be read.
func (s *Subject) CanRead(r kv.KeyRange) bool { return s.root || s.read.cover(r) }

// CanWrite reports whether all keys of a range may be written.
func (s *Subject) CanWrite(r kv.KeyRange) bool { return s.root || s.write.cover(r) }

// Unreadable yields the gaps between the keys that may be read: [from, to), where a nil to is the
// end of the key space.
func (s *Subject) Unreadable() iter.Seq2[[]byte, []byte] { return s.gaps(s.read) }

// Unwritable yields the gaps between the keys that may be written, as Unreadable does.
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

// subject gathers what roles allow.
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

// Subject returns what an actor may do. It returns nil when there is no such user.
func (s *State) Subject(a *Actor) *Subject {
	if !s.Enabled {
		return anybody
	}
	if a.Guest {
		s.guest.Do(func() { s.guestIs = s.subject([]string{GuestRole}) })
		return s.guestIs
	}
	if found, ok := s.subjects.Load(a.Name); ok {
		return found.(*Subject)
	}
	u := s.users[a.Name]
	if u == nil {
		return nil
	}
	found, _ := s.subjects.LoadOrStore(a.Name, s.subject(u.Roles))
	return found.(*Subject)
}
