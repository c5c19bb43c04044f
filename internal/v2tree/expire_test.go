package v2tree

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
)

// TestExpireInParts expires a directory that is too large for one command. Each part has a limited
// size and leaves a valid tree, and the last event is one expire of the directory.
func TestExpireInParts(t *testing.T) {
	expiredBytesMax = 1000
	defer func() { expiredBytesMax = removedBytesMax }()
	s := newState(t)
	defer s.close()
	s.begin()
	must := func(c *Command) {
		t.Helper()
		if _, err := s.apply(c); err != nil {
			t.Fatal(err)
		}
	}
	must(&Command{Kind: KindSet, Path: []byte("/big"), Dir: true, HasTTL: true, TTL: time.Second})
	must(&Command{Kind: KindSet, Path: []byte("/bigger"), Value: []byte("stays")})
	deep := "/big"
	for i := range 100 {
		must(&Command{Kind: KindSet, Path: fmt.Appendf(nil, "/big/key%03d", i), Value: []byte(strings.Repeat("x", 50))})
		if i < 20 {
			deep += fmt.Sprintf("/d%02d", i)
		}
	}
	must(&Command{Kind: KindSet, Path: []byte(deep), Dir: true})
	s.commit()
	s.now += kv.ClusterTime(2 * time.Second)

	var parts, ends int
	s.expireDue(10, func(res Result) {
		if ends > 0 {
			t.Errorf("part %d comes after the end", parts)
		}
		if res.Action == kv.ActionNone {
			parts++
			return
		}
		ends++
		if res.Action != kv.ActionExpire || string(res.Node.Key) != "/big" {
			t.Errorf("the last part is %+v", res)
		}
	})
	if parts < 5 || ends != 1 {
		t.Errorf("%d parts and %d ends", parts, ends)
	}
	n, err := s.get("/", true)
	if err != nil || len(n.Nodes) != 1 || string(n.Nodes[0].Key) != "/bigger" {
		t.Errorf("left: %+v, %v", n.Nodes, err)
	}
	if left := s.tables(); strings.Contains(left, "/big/") {
		t.Errorf("entries left:\n%s", left)
	}
}

// TestExpirePartsKeepParents removes the deepest directories first.
func TestExpirePartsKeepParents(t *testing.T) {
	expiredBytesMax = 60
	defer func() { expiredBytesMax = removedBytesMax }()
	s := newState(t)
	defer s.close()
	s.begin()
	for _, c := range []Command{
		{Kind: KindSet, Path: []byte("/a"), Dir: true, HasTTL: true, TTL: time.Second},
		{Kind: KindSet, Path: []byte("/a/b/c/d/e/f/g/h/i"), Dir: true},
		{Kind: KindSet, Path: []byte("/a/x/y/z"), Dir: true},
	} {
		if _, err := s.apply(&c); err != nil {
			t.Fatal(err)
		}
	}
	s.commit()
	s.now += kv.ClusterTime(2 * time.Second)
	s.expireDue(1, func(res Result) {
		if res.Action != kv.ActionNone {
			return
		}
		// The tree is read from the open batch: every directory has its parents.
		r := s.w.Reading()
		c := directoriesBelow(r, []byte("/a/"))
		for ; c.more; c.next() {
			path := strings.TrimSuffix(string(c.prefix()), "/")
			parent := path[:strings.LastIndexByte(path, '/')]
			if _, ok, err := lendDirectory(r, dirKey(nil, []byte(parent))); err != nil || !ok {
				t.Errorf("%s has lost its parent: %v", path, err)
			}
		}
		s.check(c.close())
	})
	if _, err := s.get("/a", true); err == nil {
		t.Error("/a is still there")
	}
}
