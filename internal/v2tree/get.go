package v2tree

import (
	"bytes"
	"errors"
	"slices"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// movedTriesMax limits how often a Get begins again; see Get.
const movedTriesMax = 16

// Get returns the node at a path, and the revision of the state that it was read from. A directory
// has its content without hidden nodes: one level, or with recursive all of it. A refusal is an
// *Error.
//
// read returns the published state. Keys are read as of one revision, directories as they are now,
// so a Get that read directories checks whether any changed meanwhile, and if so begins again with
// a newer reading. When directories change faster than it can read, it returns the last attempt: a
// directory that was made or removed in those microseconds may then be on either side of the
// revision. When a compaction has overtaken it, it waits for the newer state and begins again.
func Get(read func() mvcc.Reading, path []byte, recursive bool, now kv.ClusterTime) (n Node, index int64, err error) {
	for range movedTriesMax {
		r := read()
		index = r.Revision()
		p, err := lookup(r, path, true)
		if r.Overtaken() || errors.Is(err, mvcc.ErrOvertaken) {
			if err := r.AwaitNewer(); err != nil {
				return n, index, err
			}
			continue
		}
		if err != nil {
			return n, index, err
		}
		if p.is == file {
			return fileNode(path, &p.rec, now), index, nil
		}
		before, err := lastDirectoryChange(r)
		if err != nil {
			return n, index, err
		}
		if before > index { // the change is committed and about to be published
			if err := r.AwaitNewer(); err != nil {
				return n, index, err
			}
			continue
		}
		n, err = getDirectory(r, path, recursive, now)
		if r.Overtaken() || errors.Is(err, mvcc.ErrOvertaken) {
			if err := r.AwaitNewer(); err != nil {
				return Node{}, index, err
			}
			continue
		}
		if after, aerr := lastDirectoryChange(r); aerr != nil || after == before {
			if aerr != nil {
				err = aerr
			}
			return n, index, err
		}
	}
	r := read()
	n, err = getDirectory(r, path, recursive, now)
	return n, r.Revision(), err
}

// Hides reports whether v2 shows a directory at a path, so that a key of the same path, which only
// v3 can have put there, is not seen.
func Hides(r mvcc.Reading, path []byte) (bool, error) {
	if !r.Mixed() {
		return false, nil
	}
	p, err := lookup(r, path, false)
	return p.is == folder, err
}

// getDirectory is Get at a path where the last lookup found no key.
func getDirectory(r mvcc.Reading, path []byte, recursive bool, now kv.ClusterTime) (Node, error) {
	p, err := lookup(r, path, true)
	switch {
	case err != nil:
		return Node{}, err
	case p.is == file:
		return fileNode(path, &p.rec, now), nil
	case p.is == nothing:
		at, code, err := obstacle(r, path)
		if err != nil {
			return Node{}, err
		}
		return Node{}, &Error{Code: code, Cause: string(at), Index: r.Revision()}
	}
	n := Node{Dir: true} // the root has neither name nor indexes
	if !isRoot(path) {
		n = dirNode(path, p.dir, now)
	}
	l := lister{recursive: recursive, now: now}
	return l.list(r, prefixOf(path), n)
}

// lister gathers a directory's content by walking the keys and the entries of
// table d below it together. Both are sorted by prefix, so that all below a
// directory comes in one piece; but a directory's own nodes come unsorted, since
// "/a-b" is before "/a/x", and a directory may come after a key of its path, which
// it hides.
type lister struct {
	recursive bool
	now       kv.ClusterTime
	bytes     int // listed so far, as listBytesMax counts them
	// open has the directories on the way to the present place, outermost first.
	open []openDir
	mem  []byte // what the nodes' keys and values are cut from
}

type openDir struct {
	node   Node
	prefix []byte
	sorted bool
}

func (l *lister) list(r mvcc.Reading, prefix []byte, n Node) (Node, error) {
	l.open = append(l.open, openDir{node: n, prefix: prefix, sorted: true})
	dirs := directoriesBelow(r, prefix)
	err := walkBelow(r, prefix, func(key []byte, rec *kv.Record) ([]byte, bool) {
		l.addDirectories(dirs, key)
		return l.addKey(key, rec), l.bytes <= listBytesMax
	})
	if err == nil {
		l.addDirectories(dirs, nil)
	}
	if err == nil && l.bytes > listBytesMax {
		err = mvcc.ErrTooLarge
	}
	if cerr := dirs.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Node{}, err
	}
	l.closeTo(1)
	return l.close(), nil
}

// addDirectories takes the entries of table d that are before key; all, when key
// is nil.
func (l *lister) addDirectories(dirs *dirCursor, key []byte) {
	for dirs.more && l.bytes <= listBytesMax && (key == nil || bytes.Compare(dirs.prefix(), key) < 0) {
		prefix := dirs.prefix()
		if seek := l.enter(prefix, dirs.dir); seek != nil {
			dirs.seek(seek)
		} else {
			dirs.next()
		}
	}
}

// addKey takes a key, and returns where to go on: nil is the next key.
func (l *lister) addKey(key []byte, rec *kv.Record) []byte {
	if seek := l.enter(key, directory{created: rec.CreateRevision}); seek != nil {
		return seek
	}
	top := &l.open[len(l.open)-1]
	if name := key[len(top.prefix):]; len(name) == 0 || hidden(name) {
		return nil
	}
	own := *rec
	own.Value = l.keep(rec.Value)
	l.add(top, fileNode(l.keep(key), &own, l.now))
	return nil
}

// listBytesMax bounds what a listing may hold: keys, values, and nodeBytes for each node.
const (
	listBytesMax = 256 << 20
	nodeBytes    = 160
)

// enter opens the directories that key lies in, and for the prefix of a
// directory that one, too. Those that it has to make up are as given, also the
// last. It returns a seek key when what is below is not to be listed.
func (l *lister) enter(key []byte, as directory) (seek []byte) {
	for !bytes.HasPrefix(key, l.open[len(l.open)-1].prefix) {
		l.closeTo(len(l.open) - 1)
	}
	for {
		top := &l.open[len(l.open)-1]
		end := childEnd(key, len(top.prefix))
		if end == len(key) {
			return nil
		}
		if hidden(key[len(top.prefix):end]) {
			return afterSubtree(key[:end])
		}
		prefix := l.keep(key[:end+1])
		n := dirNode(prefix[:end:end], as, l.now)
		if end+1 < len(key) {
			n = dirNode(prefix[:end:end], directory{created: as.created}, l.now)
		}
		if !l.recursive {
			l.add(top, n)
			return afterSubtree(key[:end])
		}
		l.open = append(l.open, openDir{node: n, prefix: prefix, sorted: true})
	}
}

// add puts a node into a directory.
func (l *lister) add(to *openDir, n Node) {
	if last := len(to.node.Nodes) - 1; last >= 0 {
		switch order := bytes.Compare(to.node.Nodes[last].Key, n.Key); {
		case order == 0 && to.node.Nodes[last].Dir:
			return // both table d and the keys below show the directory
		case order >= 0:
			to.sorted = false
		}
	}
	to.node.Nodes = append(to.node.Nodes, n)
	l.bytes += nodeBytes
}

// closeTo closes directories until n are open.
func (l *lister) closeTo(n int) {
	for len(l.open) > n {
		node := l.close()
		l.add(&l.open[len(l.open)-1], node)
	}
}

// close closes the innermost directory and returns it.
func (l *lister) close() Node {
	top := l.open[len(l.open)-1]
	l.open = l.open[:len(l.open)-1]
	if top.sorted {
		return top.node
	}
	nodes := top.node.Nodes
	slices.SortStableFunc(nodes, func(a, b Node) int { return bytes.Compare(a.Key, b.Key) })
	// Of a key and a directory with one path the key came first.
	kept := nodes[:0]
	for _, n := range nodes {
		if last := len(kept) - 1; last >= 0 && bytes.Equal(kept[last].Key, n.Key) {
			if n.Dir && !kept[last].Dir {
				kept[last] = n
			}
			continue
		}
		kept = append(kept, n)
	}
	clear(nodes[len(kept):])
	top.node.Nodes = kept
	return top.node
}

// keep returns a copy of b that lives as long as the listing.
func (l *lister) keep(b []byte) []byte {
	if len(b) > cap(l.mem)-len(l.mem) {
		l.mem = make([]byte, 0, max(len(b), min(64<<10, 1<<10+2*cap(l.mem))))
	}
	l.bytes += len(b)
	at := len(l.mem)
	l.mem = append(l.mem, b...)
	return l.mem[at:len(l.mem):len(l.mem)]
}
