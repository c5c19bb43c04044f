package check

import (
	"fmt"
	"strings"
)

// Operations on the v2 tree.
const (
	V2Get              = "get"
	V2Set              = "set"
	V2Create           = "create"
	V2CreateInOrder    = "createInOrder" // its response has the action create
	V2Update           = "update"
	V2CompareAndSwap   = "compareAndSwap"
	V2Delete           = "delete"
	V2CompareAndDelete = "compareAndDelete"
)

// V2 is one request of the v2 API.
type V2 struct {
	Do         string
	Path       string
	Value      string
	Dir        bool
	Recursive  bool
	Refresh    bool
	HasTTL     bool
	TTL        int64 // in nanoseconds
	PrevValue  string
	PrevIndex  int64
	Linearized bool // of a get: quorum=true
}

func (r *V2) String() string {
	return fmt.Sprintf("v2 %s %s%s", r.Do, r.Path, notes(
		note{"value", r.Value}, note{"dir", r.Dir}, note{"recursive", r.Recursive}, note{"refresh", r.Refresh}, note{"ttl ns", r.TTL},
		note{"prevValue", r.PrevValue}, note{"prevIndex", r.PrevIndex}, note{"quorum", r.Linearized},
	))
}

// V2Node is a key or directory as v2 shows it, without its remaining TTL.
type V2Node struct {
	Key               string
	Dir               bool
	Value             string
	Created, Modified int64
	TTL               bool // it has a TTL
	Nodes             []V2Node
}

// V2Response is the response to a V2. Its index is the Revision of the Response.
type V2Response struct {
	Action string
	Node   V2Node
	Prev   *V2Node
	Code   int    // of the refusal, 0 for none
	Cause  string // of the refusal
}

func (r *V2Response) String() string {
	if r.Code != 0 {
		return fmt.Sprintf("error %d (%s)", r.Code, r.Cause)
	}
	s := fmt.Sprintf("%s %+v", r.Action, r.Node)
	if r.Prev != nil {
		s += fmt.Sprintf(" was %+v", *r.Prev)
	}
	return s
}

// The codes of v2's refusals.
const (
	v2KeyNotFound   = 100
	v2CompareFailed = 101
	v2NotFile       = 102
	v2NotDirectory  = 104
	v2KeyExists     = 105
	v2RootReadOnly  = 107
	v2NotEmpty      = 108
)

// ErrV2 is the Err of a Response whose V2 has a code.
const ErrV2 = "v2 error"

// directory is a directory that a v2 write made.
type directory struct {
	Created int64
	life
}

func refusal(code int, cause string) Response {
	return Response{Err: ErrV2, V2: &V2Response{Code: code, Cause: cause}}
}

// node is the node at a path, as v2 sees it.
type node struct {
	dir, file bool
	explicit  bool // the directory was made by v2
	d         directory
	r         record
}

func below(path string) string {
	if path == "/" {
		return "/"
	}
	return path + "/"
}

func (s *State) node(path string) (n node) {
	if path == "/" {
		return node{dir: true}
	}
	if d, ok := s.dirs.get(path); ok {
		return node{dir: true, explicit: true, d: d}
	}
	// A directory that v3's keys imply has the create revision of the first of them.
	s.keys.walk(below(path), func(k string, r record) bool {
		if strings.HasPrefix(k, below(path)) {
			n = node{dir: true, d: directory{Created: r.Create}}
		}
		return false
	})
	if n.dir {
		return n
	}
	r, ok := s.keys.get(path)
	return node{file: ok, r: r}
}

// ancestors returns the paths above a path, without the root, outermost first.
func ancestors(path string) (all []string) {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			all = append(all, path[:i])
		}
	}
	return all
}

// absent returns the refusal of a request for a path that does not exist.
func (x *step) absent(path string) Response {
	for _, at := range ancestors(path) {
		switch n := x.s.node(at); {
		case n.file:
			return refusal(v2NotDirectory, at)
		case !n.dir:
			return refusal(v2KeyNotFound, at)
		}
	}
	return refusal(v2KeyNotFound, path)
}

// parents makes the directories above a path.
func (x *step) parents(path string) *Response {
	for _, at := range ancestors(path) {
		n := x.s.node(at)
		if n.file {
			r := refusal(v2NotDirectory, at)
			return &r
		}
		if !n.dir {
			n.d = directory{Created: x.s.Revision + 1}
		}
		if !n.explicit {
			x.s.dirs = x.s.dirs.with(at, n.d)
		}
	}
	return nil
}

func showFile(r record) V2Node {
	return V2Node{Key: r.Key, Value: r.Value, Created: r.Create, Modified: r.Mod, TTL: r.TTL}
}

func showDir(path string, d directory) V2Node {
	return V2Node{Key: path, Dir: true, Created: d.Created, Modified: d.Created, TTL: d.TTL}
}

func (x *step) v2(r *V2) Response {
	if r.Do == V2Get {
		return x.v2Get(r)
	}
	if r.Path == "/" && r.Do != V2CreateInOrder {
		if r.Do == V2CompareAndDelete {
			return refusal(v2NotFile, "")
		}
		return refusal(v2RootReadOnly, "/")
	}
	old := x.s.node(r.Path)
	switch r.Do {
	case V2Set:
		return x.v2Set(r, old)
	case V2Create:
		return x.v2Create(r, r.Path)
	case V2CreateInOrder:
		return x.v2Create(r, below(r.Path)+fmt.Sprintf("%020d", x.s.Revision+1))
	case V2Update, V2CompareAndSwap:
		return x.v2Update(r, old)
	default:
		return x.v2Remove(r, old)
	}
}

// file returns the key that the request writes.
func (x *step) file(r *V2, path, value string) record {
	return record{KV: KV{Key: path, Value: value}, life: x.life(r.HasTTL, r.TTL)}
}

func (x *step) v2Set(r *V2, old node) Response {
	switch {
	case old.dir:
		return refusal(v2NotFile, r.Path)
	case !old.file && r.Refresh:
		return x.absent(r.Path)
	}
	if refused := x.parents(r.Path); refused != nil {
		return *refused
	}
	out := &V2Response{Action: V2Set}
	if old.file {
		prev := showFile(old.r)
		out.Prev = &prev
	}
	if r.Dir {
		out.Node = x.makeDir(r, r.Path)
		if old.file {
			x.remove(old.r)
		}
		return Response{V2: out}
	}
	value := r.Value
	if r.Refresh {
		value = old.r.Value
	}
	out.Node = showFile(x.store(x.file(r, r.Path, value), true))
	return Response{V2: out}
}

func (x *step) makeDir(r *V2, path string) V2Node {
	d := directory{Created: x.s.Revision + 1, life: x.life(r.HasTTL, r.TTL)}
	x.s.dirs = x.s.dirs.with(path, d)
	x.noteDir(path, false)
	return showDir(path, d)
}

func (x *step) v2Create(r *V2, path string) Response {
	if n := x.s.node(path); n.file || n.dir {
		return refusal(v2KeyExists, path)
	}
	if refused := x.parents(path); refused != nil {
		return *refused
	}
	out := &V2Response{Action: V2Create}
	if r.Dir {
		out.Node = x.makeDir(r, path)
	} else {
		out.Node = showFile(x.store(x.file(r, path, r.Value), true))
	}
	return Response{V2: out}
}

func (x *step) v2Update(r *V2, old node) Response {
	switch {
	case !old.file && !old.dir:
		return x.absent(r.Path)
	case old.dir && (r.Do == V2CompareAndSwap || r.Value != ""):
		return refusal(v2NotFile, r.Path)
	case r.Do == V2CompareAndSwap:
		if refused := compareV2(r, &old.r); refused != nil {
			return *refused
		}
	}
	out := &V2Response{Action: r.Do}
	if old.dir {
		prev := showDir(r.Path, old.d)
		out.Prev = &prev
		if !old.explicit {
			if refused := x.parents(r.Path); refused != nil {
				return *refused
			}
		}
		d := directory{Created: old.d.Created, life: x.life(r.HasTTL, r.TTL)}
		x.s.dirs = x.s.dirs.with(r.Path, d)
		x.noteDir(r.Path, false)
		out.Node = showDir(r.Path, d)
		out.Node.Modified = x.s.Revision + 1 // returned, but not stored
		return Response{V2: out}
	}
	prev := showFile(old.r)
	out.Prev = &prev
	value := r.Value
	if r.Refresh {
		value = old.r.Value
	}
	out.Node = showFile(x.store(x.file(r, r.Path, value), false))
	return Response{V2: out}
}

func compareV2(r *V2, have *record) *Response {
	var causes []string
	if r.PrevValue != "" && r.PrevValue != have.Value {
		causes = append(causes, fmt.Sprintf("[%s != %s]", r.PrevValue, have.Value))
	}
	if r.PrevIndex != 0 && r.PrevIndex != have.Mod {
		causes = append(causes, fmt.Sprintf("[%d != %d]", r.PrevIndex, have.Mod))
	}
	if causes == nil {
		return nil
	}
	refused := refusal(v2CompareFailed, strings.Join(causes, " "))
	return &refused
}

func (x *step) v2Get(r *V2) Response {
	n := x.s.node(r.Path)
	out := &V2Response{Action: V2Get}
	switch {
	case n.file:
		out.Node = showFile(n.r)
		return Response{V2: out}
	case !n.dir:
		return x.absent(r.Path)
	}
	out.Node = V2Node{Dir: true}
	if r.Path != "/" {
		out.Node = showDir(r.Path, n.d)
	}
	out.Node.Nodes = x.s.list(r.Path, r.Recursive)
	return Response{V2: out}
}

// list returns the nodes of a directory without hidden ones.
func (s *State) list(path string, recursive bool) (nodes []V2Node) {
	var names *tree[struct{}]
	note := func(k string) bool {
		rest, ok := strings.CutPrefix(k, below(path))
		if !ok {
			return false
		}
		name, _, _ := strings.Cut(rest, "/")
		if name != "" && name[0] != '_' {
			names = names.with(below(path)+name, struct{}{})
		}
		return true
	}
	s.keys.walk(below(path), func(k string, _ record) bool { return note(k) })
	s.dirs.walk(below(path), func(k string, _ directory) bool { return note(k) })
	names.walk("", func(at string, _ struct{}) bool {
		n := s.node(at)
		switch {
		case n.file:
			nodes = append(nodes, showFile(n.r))
		case recursive:
			d := showDir(at, n.d)
			d.Nodes = s.list(at, true)
			nodes = append(nodes, d)
		default:
			nodes = append(nodes, showDir(at, n.d))
		}
		return true
	})
	return nodes
}
