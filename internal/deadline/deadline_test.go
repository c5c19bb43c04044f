package deadline_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"cairn/internal/deadline"
	"cairn/internal/kv"
)

// keys is a Cursor over keys between bounds.
type keys struct {
	all    [][]byte
	upper  []byte
	closed bool
	err    error // what Close returns
}

func newKeys(lower, upper []byte, all ...[]byte) *keys {
	all = slices.DeleteFunc(all, func(key []byte) bool { return bytes.Compare(key, lower) < 0 })
	slices.SortFunc(all, bytes.Compare)
	return &keys{all: all, upper: upper}
}

func (k *keys) First() bool { return len(k.all) > 0 && bytes.Compare(k.all[0], k.upper) < 0 }
func (k *keys) Key() []byte { return k.all[0] }
func (k *keys) Close() error {
	k.closed = true
	return k.err
}

func (k *keys) Next() bool {
	k.all = k.all[1:]
	return k.First()
}

func key(at kv.ClusterTime, kind deadline.Kind, name string) []byte {
	return deadline.AppendKey(nil, deadline.Entry{Time: at, Kind: kind, Name: []byte(name)})
}

// TestKey pins the bytes, which are stored.
func TestKey(t *testing.T) {
	got := key(300, deadline.Key, "/a")
	if want := "t\x00\x00\x00\x00\x00\x00\x01\x2ck/a"; string(got) != want {
		t.Errorf("key %q, want %q", got, want)
	}
	e, err := deadline.Parse(got)
	if err != nil || e.Time != 300 || e.Kind != deadline.Key || string(e.Name) != "/a" {
		t.Errorf("parsed as %+v, %v", e, err)
	}
	for _, bad := range []string{"", "t", "t\x00\x00\x00\x00\x00\x00\x01\x2c", "t\x80\x00\x00\x00\x00\x00\x00\x00k", "s\x00\x00\x00\x00\x00\x00\x01\x2ck"} {
		if e, err := deadline.Parse([]byte(bad)); !errors.Is(err, deadline.ErrCorrupt) {
			t.Errorf("%q parsed as %+v, %v", bad, e, err)
		}
	}
}

// TestVisit: the entries between two times, the earliest first, not more than the limit.
func TestVisit(t *testing.T) {
	all := [][]byte{
		key(1, deadline.Lease, "12345678"), key(5, deadline.Key, "/b"), key(5, deadline.Directory, "/a"), key(9, deadline.Key, "/c"),
		key(math.MaxInt64, deadline.Key, "/z"),
	}
	for _, c := range []struct {
		from, to kv.ClusterTime
		limit    int
		want     string
	}{
		{0, math.MaxInt64, math.MaxInt, "1 l 12345678, 5 d /a, 5 k /b, 9 k /c, 9223372036854775807 k /z"},
		{0, math.MaxInt64, 2, "1 l 12345678, 5 d /a"},
		{0, 8, 10, "1 l 12345678, 5 d /a, 5 k /b"},
		{5, 9, 10, "5 d /a, 5 k /b, 9 k /c"},
		{6, 8, 10, ""},
		{0, 9, 0, ""},
	} {
		lower, upper := deadline.Bounds(c.from, c.to)
		cursor := newKeys(lower, upper, slices.Clone(all)...)
		var got []string
		err := deadline.Visit(cursor, c.limit, func(e deadline.Entry) error {
			got = append(got, fmt.Sprintf("%d %c %s", e.Time, e.Kind, e.Name))
			return nil
		})
		if text := strings.Join(got, ", "); err != nil || text != c.want || !cursor.closed {
			t.Errorf("from %d to %d, %d at most: %s, %v, closed %t; want %s", c.from, c.to, c.limit, text, err, cursor.closed, c.want)
		}
	}
}

// TestVisitFails: the first error ends the walk and closes the cursor.
func TestVisitFails(t *testing.T) {
	stop, closing := errors.New("stop"), errors.New("closing")
	for _, c := range []struct {
		name string
		keys *keys
		want error
	}{
		{"the visitor", newKeys(nil, []byte("u"), key(1, deadline.Key, "/a"), key(2, deadline.Key, "/b")), stop},
		{"a corrupt key", newKeys(nil, []byte("u"), []byte("t\x00short")), deadline.ErrCorrupt},
		{"the cursor", &keys{err: closing}, closing},
	} {
		n := 0
		err := deadline.Visit(c.keys, 10, func(deadline.Entry) error { n++; return stop })
		if !errors.Is(err, c.want) || n > 1 || !c.keys.closed {
			t.Errorf("%s: %v after %d entries, closed %t; want %v", c.name, err, n, c.keys.closed, c.want)
		}
	}
}
