package v2tree

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// TestLimits is at each limit of a directory's size, and one byte above it.
func TestLimits(t *testing.T) {
	t.Run("recursive delete", func(t *testing.T) {
		s, size := directory10(t, 0)
		defer s.close()
		defer func() { removedDirBytesMax = removedBytesMax }()
		remove := Command{Kind: KindDelete, Path: []byte("/big"), Recursive: true}
		removedDirBytesMax = size.dirs - 1
		s.begin()
		s.w.Start()
		if _, err := Apply(s.w, s.now, &remove); !errors.Is(err, mvcc.ErrTooLarge) {
			t.Errorf("one byte above the limit: %v", err)
		}
		s.w.Abort()
		s.commit()
		if n, err := s.get("/big", true); err != nil || len(n.Nodes) != 20 {
			t.Errorf("after the refusal: %d nodes, %v", len(n.Nodes), err)
		}
		removedDirBytesMax = size.dirs
		s.begin()
		if _, err := s.apply(&remove); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		s.commit()
		if _, err := s.get("/big", false); err == nil {
			t.Error("the directory is still there")
		}
	})
	t.Run("listing", func(t *testing.T) {
		s, size := directory10(t, 0)
		defer s.close()
		before := listBytesMax
		defer func() { listBytesMax = before }()
		listBytesMax = size.list - 1
		if _, _, err := Get(s.store.Reading, []byte("/big"), true, s.now, mvcc.Unlimited); !errors.Is(err, mvcc.ErrTooLarge) {
			t.Errorf("one byte above the limit: %v", err)
		}
		listBytesMax = size.list
		if n, _, err := Get(s.store.Reading, []byte("/big"), true, s.now, mvcc.Unlimited); err != nil || len(n.Nodes) != 20 {
			t.Errorf("at the limit: %d nodes, %v", len(n.Nodes), err)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		for above := range 2 {
			s, size := directory10(t, time.Second)
			s.now += kv.ClusterTime(2 * time.Second)
			expiredBytesMax = max(size.keys, size.dirs) - above
			parts, ends := 0, 0
			s.expireDue(10, func(res Result) {
				if res.Action == kv.ActionNone {
					parts++
				} else {
					ends++
				}
			})
			if parts != above || ends != 1 {
				t.Errorf("%d bytes above the limit: %d parts before %d ends", above, parts, ends)
			}
			if _, err := s.get("/big", false); err == nil {
				t.Error("the directory is still there")
			}
			expiredBytesMax = removedBytesMax
			s.close()
		}
	})
}

// sizes are the bytes of a directory as the limits count them.
type sizes struct{ keys, dirs, list int }

// directory10 makes /big with ten keys and ten directories.
func directory10(t *testing.T, ttl time.Duration) (*state, sizes) {
	t.Helper()
	s := newState(t)
	s.begin()
	set := func(c Command) {
		c.Kind = KindSet
		if _, err := s.apply(&c); err != nil {
			t.Fatal(err)
		}
	}
	set(Command{Path: []byte("/big"), Dir: true, HasTTL: ttl > 0, TTL: ttl})
	var size sizes
	for i := range 10 {
		key, dir, value := fmt.Sprintf("/big/key%d", i), fmt.Sprintf("/big/dir%d", i), "value"
		set(Command{Path: []byte(key), Value: []byte(value)})
		set(Command{Path: []byte(dir), Dir: true})
		size.keys += len(key) + len(value)
		size.dirs += len(dir) + 1 // its prefix ends with a slash
		size.list += len(key) + len(value) + len(dir) + 1 + 2*nodeBytes
	}
	s.commit()
	return s, size
}
