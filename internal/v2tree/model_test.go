package v2tree

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cairn/internal/kv"
)

// model is the tree as flat maps, which every query scans completely.
type model struct {
	keys map[string]kv.Record
	dirs map[string]directory
	rev  int64
	now  kv.ClusterTime
}

// seen reports whether v2 can name a key; it checks paths by package path.
func seen(key string) bool {
	return key != "/" && strings.HasPrefix(key, "/") && path.Clean(key) == key
}

func below(dir, key string) bool { return strings.HasPrefix(key, strings.TrimSuffix(dir, "/")+"/") }

func (m *model) seenKeys() (keys []string) {
	for k := range m.keys {
		if seen(k) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// dir returns the directory at p, if there is one.
func (m *model) dir(p string) (directory, bool) {
	if d, ok := m.dirs[p]; ok {
		return d, true
	}
	for _, k := range m.seenKeys() {
		if below(p, k) {
			return directory{created: m.keys[k].CreateRevision}, true
		}
	}
	return directory{}, p == "/"
}

// key returns the key at p, if v2 shows one.
func (m *model) key(p string) (kv.Record, bool) {
	_, isDir := m.dir(p)
	r, ok := m.keys[p]
	return r, ok && seen(p) && !isDir
}

func ancestors(p string) (dirs []string) {
	for d := path.Dir(p); d != "/"; d = path.Dir(d) {
		dirs = append(dirs, d)
	}
	slices.Reverse(dirs)
	return dirs
}

func (m *model) refuse(code int, cause string) error {
	return &Error{Code: code, Cause: cause, Index: m.rev}
}

func (m *model) missing(p string) error {
	for _, d := range append(ancestors(p), p) {
		if _, ok := m.key(d); ok {
			return m.refuse(CodeNotDirectory, d)
		}
		if _, ok := m.dir(d); !ok {
			return m.refuse(CodeKeyNotFound, d)
		}
	}
	panic("no ancestor is missing of " + p)
}

// makeParents returns the directories to be made for p.
func (m *model) makeParents(p string, rev int64) (map[string]directory, error) {
	made := map[string]directory{}
	for _, a := range ancestors(p) {
		if _, ok := m.key(a); ok {
			return nil, m.refuse(CodeNotDirectory, a)
		}
		d, ok := m.dir(a)
		if !ok {
			d.created = rev
		}
		made[a] = d
	}
	return made, nil
}

// apply is a straightforward Apply.
func (m *model) apply(c *Command) error {
	p, rev := string(c.Path), m.rev+1
	if c.Kind == KindCreateInOrder {
		p = path.Join(p, fmt.Sprintf("%020d", rev))
	}
	if p == "/" {
		if c.Kind == KindCompareAndDelete {
			return m.refuse(CodeNotFile, "")
		}
		return m.refuse(CodeRootReadOnly, p)
	}
	key, isKey := m.key(p)
	dir, isDir := m.dir(p)
	exists := isKey || isDir
	creates := c.Kind == KindCreate || c.Kind == KindCreateInOrder
	compares := c.Kind == KindCompareAndSwap || c.Kind == KindCompareAndDelete
	deletes := c.Kind == KindDelete || c.Kind == KindCompareAndDelete
	switch {
	case creates && exists:
		return m.refuse(CodeKeyExists, p)
	case !creates && !exists && (c.Kind != KindSet || c.Refresh):
		return m.missing(p)
	case isDir && (compares || c.Kind == KindSet || c.Kind == KindUpdate && len(c.Value) > 0):
		return m.refuse(CodeNotFile, p)
	case isDir && c.Kind == KindDelete && !c.Dir && !c.Recursive:
		return m.refuse(CodeNotFile, p)
	case isDir && c.Kind == KindDelete && !c.Recursive:
		if len(m.tree(p, true, false)) > 0 {
			return m.refuse(CodeDirectoryNotEmpty, p)
		}
	case compares:
		var cause []string
		if len(c.PrevValue) > 0 && string(c.PrevValue) != string(key.Value) {
			cause = append(cause, fmt.Sprintf("[%s != %s]", c.PrevValue, key.Value))
		}
		if c.PrevIndex != 0 && int64(c.PrevIndex) != key.Mod.Main {
			cause = append(cause, fmt.Sprintf("[%d != %d]", c.PrevIndex, key.Mod.Main))
		}
		if cause != nil {
			return m.refuse(CodeCompareFailed, strings.Join(cause, " "))
		}
	}
	made, err := m.makeParents(p, rev)
	if err != nil {
		return err
	}
	deadline := kv.ClusterTime(0)
	if c.HasTTL {
		deadline = max(m.now+kv.ClusterTime(c.TTL), 1)
	}
	value := c.Value
	if c.Refresh && (c.Kind == KindSet || c.Kind == KindUpdate || c.Kind == KindCompareAndSwap) {
		value = key.Value
	}
	m.rev = rev
	if created, onlyThen := map[Kind]bool{KindUpdate: true, KindCompareAndSwap: true}[c.Kind]; created && onlyThen && isKey {
		made = nil // all ancestors exist
	}
	for a, d := range made {
		m.dirs[a] = d
	}
	switch {
	case deletes && isKey:
		delete(m.keys, p)
	case deletes:
		m.remove(p)
	case isDir: // an update
		m.dirs[p] = directory{created: dir.created, deadline: deadline}
	case c.Dir && c.Kind != KindUpdate && c.Kind != KindCompareAndSwap:
		delete(m.keys, p)
		m.dirs[p] = directory{created: rev, deadline: deadline}
	default:
		r := kv.Record{CreateRevision: rev, Mod: kv.Revision{Main: rev}, Deadline: deadline, Value: value}
		if isKey && c.Kind != KindSet {
			r.CreateRevision = key.CreateRevision
		}
		m.keys[p] = r
	}
	return nil
}

// remove removes a directory.
func (m *model) remove(p string) {
	for _, k := range m.seenKeys() {
		if k == p || below(p, k) {
			delete(m.keys, k)
		}
	}
	for d := range m.dirs {
		if d == p || below(p, d) {
			delete(m.dirs, d)
		}
	}
}

// expire removes nodes whose deadline has passed, one by one, the earliest first.
func (m *model) expire() {
	for {
		at, name := m.now+1, ""
		isDir := false
		for p, d := range m.dirs {
			if d.deadline != 0 && (d.deadline < at || d.deadline == at && p < name) {
				at, name, isDir = d.deadline, p, true
			}
		}
		for p, k := range m.keys {
			if k.Deadline != 0 && (k.Deadline < at || k.Deadline == at && !isDir && p < name) {
				at, name, isDir = k.Deadline, p, false
			}
		}
		if name == "" {
			return
		}
		m.rev++
		made, err := m.makeParents(name, m.rev)
		if err != nil {
			panic(err)
		}
		for a, d := range made {
			m.dirs[a] = d
		}
		if isDir {
			m.remove(name)
		} else {
			delete(m.keys, name)
		}
	}
}

// tree prints everything below a directory, as printNode does; with all, also hidden nodes.
func (m *model) tree(dir string, all, recursive bool) string {
	names := map[string]bool{}
	note := func(p string) {
		if below(dir, p) {
			name, _, _ := strings.Cut(strings.TrimPrefix(p[len(dir):], "/"), "/")
			if all || name[0] != '_' {
				names[name] = true
			}
		}
	}
	for d := range m.dirs {
		note(d)
	}
	for _, k := range m.seenKeys() {
		note(k)
	}
	var out strings.Builder
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	for _, name := range sorted {
		out.WriteString(m.node(path.Join(dir, name), recursive, recursive))
	}
	return out.String()
}

// node prints the node at p.
func (m *model) node(p string, list, recursive bool) string {
	var out strings.Builder
	n := Node{Dir: true}
	if r, ok := m.key(p); ok {
		n = fileNode([]byte(p), &r, m.now)
	} else if p != "/" {
		d, _ := m.dir(p)
		n = dirNode([]byte(p), d, m.now)
	}
	printNode(&out, "", n)
	if n.Dir && list {
		out.WriteString(m.tree(p, false, recursive))
	}
	return out.String()
}

func flatten(out *strings.Builder, n Node) {
	nodes := n.Nodes
	n.Nodes = nil
	printNode(out, "", n)
	for _, child := range nodes {
		flatten(out, child)
	}
}

// TestModel applies the same commands to the tree and the model, in batches of any size, with v3
// writes in between and restarts, and compares refusals and content.
func TestModel(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "a-b", "_h", "a.", "0"})
	odd := rapid.SampledFrom([]string{"a", "b", "", ".", "..", "_h", "a!", "..."})
	clean := rapid.Custom(func(rt *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(names, 0, 4).Draw(rt, "names"), "/")
	})
	anyKey := rapid.Custom(func(rt *rapid.T) string {
		return rapid.SampledFrom([]string{"/", "/", "/", ""}).Draw(rt, "start") +
			strings.Join(rapid.SliceOfN(rapid.OneOf(names, odd), 1, 4).Draw(rt, "names"), "/")
	})
	rapid.Check(t, func(rt *rapid.T) {
		s := newState(t)
		defer s.close()
		mixed := rapid.Bool().Draw(rt, "mixed")
		m := &model{keys: map[string]kv.Record{}, dirs: map[string]directory{}, rev: 1, now: s.now}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				s.begin()
				for range rapid.IntRange(1, 5).Draw(rt, "batch") {
					c := drawCommand(rt, clean, m.rev)
					_, err := s.apply(&c)
					if want := m.apply(&c); fmt.Sprint(err) != fmt.Sprint(want) {
						rt.Fatalf("%+v: %v, want %v", c, err, want)
					}
				}
				s.commit()
			},
			"v3": func(rt *rapid.T) {
				s.begin()
				key := anyKey.Draw(rt, "key")
				if rapid.Bool().Draw(rt, "put") {
					if key == "" || !mixed && key[0] == '/' {
						key = "x"
					}
					s.put(key, "v3")
					m.rev++
					r := kv.Record{CreateRevision: m.rev, Mod: kv.Revision{Main: m.rev}, Value: []byte("v3")}
					if old, ok := m.keys[key]; ok {
						r.CreateRevision = old.CreateRevision
					}
					m.keys[key] = r
				} else {
					s.del(key+"\x00", key+"0") // removes everything below key, but not key itself
					before := len(m.keys)
					for k := range m.keys {
						if k > key && k < key+"0" {
							delete(m.keys, k)
						}
					}
					if len(m.keys) != before {
						m.rev++
					}
				}
				s.commit()
			},
			"time": func(rt *rapid.T) {
				s.now += kv.ClusterTime(rapid.Int64Range(0, int64(5*time.Second)).Draw(rt, "by"))
				m.now = s.now
				s.expireDue(rapid.IntRange(1, 3).Draw(rt, "limit"), nil)
				m.expire()
			},
			"reopen": func(*rapid.T) { s.reopen() },
			"": func(rt *rapid.T) {
				s.checkInvariants()
				if rev := s.store.Head().Revision; rev != m.rev {
					rt.Fatalf("revision %d, want %d", rev, m.rev)
				}
				p, recursive := clean.Draw(rt, "get"), rapid.Bool().Draw(rt, "recursive")
				n, err := s.get(p, recursive)
				_, isKey := m.key(p)
				if _, isDir := m.dir(p); !isKey && !isDir {
					if want := m.missing(p); fmt.Sprint(err) != want.Error() {
						rt.Fatalf("get %s: %v, want %v", p, err, want)
					}
					return
				}
				var got strings.Builder
				flatten(&got, n)
				if want := m.node(p, true, recursive); err != nil || got.String() != want {
					rt.Fatalf("get %s: %v\n%swant\n%s", p, err, got.String(), want)
				}
			},
		})
	})
}

func drawCommand(rt *rapid.T, paths *rapid.Generator[string], rev int64) Command {
	c := Command{
		Kind:      Kind(rapid.IntRange(int(KindSet), int(KindCompareAndDelete)).Draw(rt, "kind")),
		Path:      []byte(paths.Draw(rt, "path")),
		Value:     []byte(rapid.SampledFrom([]string{"", "1", "2"}).Draw(rt, "value")),
		Dir:       rapid.IntRange(0, 3).Draw(rt, "dir") == 0,
		Recursive: rapid.Bool().Draw(rt, "recursive"),
		Refresh:   rapid.IntRange(0, 5).Draw(rt, "refresh") == 0,
	}
	if rapid.IntRange(0, 2).Draw(rt, "ttl") == 0 {
		c.HasTTL = true
		c.TTL = time.Duration(rapid.Int64Range(-int64(time.Second), int64(9*time.Second)).Draw(rt, "for"))
	}
	if c.Kind == KindCompareAndSwap || c.Kind == KindCompareAndDelete {
		c.PrevValue = []byte(rapid.SampledFrom([]string{"", "1", "2", "v3"}).Draw(rt, "prevValue"))
		if rapid.Bool().Draw(rt, "compare index") {
			c.PrevIndex = uint64(max(rev-rapid.Int64Range(0, 4).Draw(rt, "back"), 1))
		}
	}
	return c
}
