package v2tree

import (
	"strings"
	"testing"
	"time"
)

func TestDirectories(t *testing.T) {
	s := newState(t)
	defer s.close()
	for _, path := range []string{"/a", "/a/b/c", "/a/b/d", "/a-b", "/z/y"} {
		s.mustApply(Command{Kind: KindSet, Path: []byte(path), Dir: true, HasTTL: path == "/a", TTL: time.Minute})
	}
	s.mustApply(Command{Kind: KindSet, Path: []byte("/implicit/key")})
	s.begin()
	s.put("/v3/only/key", "x")
	s.commit()
	for _, c := range []struct{ prefix, from, want string }{
		{"/", "", "/a-b/ /a/+ /implicit/ /z/"},
		{"/", "/a/", "/a/+ /implicit/ /z/"},
		{"/", "/a/b/c", "/implicit/ /z/"},
		{"/", "/a0", "/implicit/ /z/"},
		{"/a/", "", "/a/b/"},
		{"/a/b/", "", "/a/b/c/ /a/b/d/"},
		{"/a/b/", "/a/b/c/x", "/a/b/d/"},
		{"/a/b/c/", "", ""},
		{"/v3/", "", ""},
	} {
		var got []string
		err := Directories(s.store.Reading(), []byte(c.prefix), []byte(c.from), func(d Directory) bool {
			word := string(d.Prefix)
			if d.Deadline != 0 {
				word += "+"
			}
			got = append(got, word)
			return true
		})
		if text := strings.Join(got, " "); err != nil || text != c.want {
			t.Errorf("in %s from %q: %s, %v; want %s", c.prefix, c.from, text, err, c.want)
		}
	}
	past, err := s.store.ReadingAt(3) // before /a/b/d
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	err = Directories(past, []byte("/a/b/"), nil, func(d Directory) bool {
		names++
		if string(d.Prefix) != "/a/b/c/" {
			t.Errorf("%s is there at revision 3", d.Prefix)
		}
		return false
	})
	if err != nil || names != 1 {
		t.Errorf("%d directories at revision 3, %v", names, err)
	}
}
