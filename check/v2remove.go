package check

import "strings"

func (x *step) v2Remove(r *V2, old node) Response {
	switch {
	case !old.file && !old.dir:
		return x.absent(r.Path)
	case old.dir && r.Do == V2CompareAndDelete, old.dir && !r.Dir && !r.Recursive:
		return refusal(v2NotFile, r.Path)
	case old.dir && !r.Recursive && !x.s.empty(r.Path):
		return refusal(v2NotEmpty, r.Path)
	case r.Do == V2CompareAndDelete:
		if refused := compareV2(r, &old.r); refused != nil {
			return *refused
		}
	}
	out := &V2Response{Action: r.Do, Node: V2Node{Key: r.Path, Dir: old.dir, Modified: x.s.Revision + 1}}
	var prev V2Node
	if old.dir {
		prev = showDir(r.Path, old.d)
	} else {
		prev = showFile(old.r)
	}
	out.Prev, out.Node.Created = &prev, prev.Created
	if refused := x.removeNode(r.Path, old); refused != nil {
		return *refused
	}
	return Response{V2: out}
}

// empty reports whether no key and no directory is below a path.
func (s *State) empty(path string) bool {
	none := true
	s.keys.walk(below(path), func(k string, _ record) bool {
		none = !strings.HasPrefix(k, below(path))
		return false
	})
	if none {
		s.dirs.walk(below(path), func(k string, _ directory) bool {
			none = !strings.HasPrefix(k, below(path))
			return false
		})
	}
	return none
}

// removeNode removes a key, or a directory with all below it and a key that it hides.
func (x *step) removeNode(path string, old node) *Response {
	if refused := x.parents(path); refused != nil {
		return refused
	}
	if !old.dir {
		x.remove(old.r)
		return nil
	}
	dirs := []string{path}
	x.s.dirs.walk(below(path), func(k string, _ directory) bool {
		if !strings.HasPrefix(k, below(path)) {
			return false
		}
		dirs = append(dirs, k)
		return true
	})
	var files []record
	x.s.keys.walk(below(path), func(k string, r record) bool {
		if !strings.HasPrefix(k, below(path)) {
			return false
		}
		files = append(files, r)
		return true
	})
	if hidden, ok := x.s.keys.get(path); ok {
		files = append(files, hidden)
	}
	for _, d := range dirs {
		x.s.dirs = x.s.dirs.without(d)
		x.noteDir(d, true)
	}
	for _, r := range files {
		x.remove(r)
	}
	return nil
}

// expireKey is the expiry of a key by the cluster.
func expireKey(s *State, r record) (*State, []Event) {
	return expireNode(s, r.Key, node{file: true, r: r})
}

// expireDir is expireKey for a directory.
func expireDir(s *State, path string) (*State, []Event) {
	return expireNode(s, path, s.node(path))
}

func expireNode(s *State, path string, n node) (*State, []Event) {
	x := step{before: s, s: *s}
	if x.removeNode(path, n) != nil {
		return s, nil
	}
	next, _, events := x.done(Response{})
	return next, events
}
