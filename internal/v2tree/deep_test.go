package v2tree

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"cairn/internal/mvcc"
)

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestDeepPaths limits the cost of requests with paths of many names: each directory above a node
// has a key that is as long as its path.
func TestDeepPaths(t *testing.T) {
	for names, want := range map[int]bool{1: true, maxNames: true, maxNames + 1: false, 30_000: false} {
		if path := bytes.Repeat([]byte("/d"), names); ValidPath(path) != want {
			t.Errorf("a path of %d names is valid: %v", names, !want)
		}
	}
	long := append([]byte("/"), bytes.Repeat([]byte("x"), maxDirBytes/100)...)
	if ValidPath(append(long, strings.Repeat("/d", 100)...)) {
		t.Error("100 directories of 80 KiB are valid")
	}

	s := newState(t)
	defer s.close()
	s.begin()
	deepest := bytes.Repeat([]byte("/d"), maxNames)
	const most = 64 << 20
	for _, step := range []struct {
		name string
		c    Command
		code int
	}{
		{"set", Command{Kind: KindSet, Path: deepest}, 0},
		{"update what is not there", Command{Kind: KindUpdate, Path: append(bytes.Clone(deepest[:len(deepest)-1]), 'e')}, CodeKeyNotFound},
		{"update far from what is there", Command{Kind: KindUpdate, Path: bytes.Repeat([]byte("/e"), maxNames)}, CodeKeyNotFound},
		{"remove", Command{Kind: KindDelete, Path: []byte("/d"), Recursive: true}, 0},
	} {
		n := allocated(func() {
			_, err := s.apply(&step.c)
			var refused *Error
			if errors.As(err, &refused) && refused.Code == step.code || err == nil && step.code == 0 {
				return
			}
			t.Errorf("%s: %v", step.name, err)
		})
		if n > most {
			t.Errorf("%s allocates %d bytes", step.name, n)
		}
	}
	s.commit()
	s.begin()
	s.w.Start()
	inOrder := Command{Kind: KindCreateInOrder, Path: deepest}
	if _, err := Apply(s.w, s.now, &inOrder); !errors.Is(err, mvcc.ErrTooLarge) {
		t.Errorf("an in-order key below the deepest path: %v", err)
	}
	s.w.Abort()
}
