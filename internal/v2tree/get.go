package v2tree

import (
	"bytes"
	"errors"
	"slices"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// movedTriesMax is the maximum number of times that a Get starts again; see Get.
const movedTriesMax = 16

// Get returns the node at a path, and the revision of the state that it was read from. A directory
// has its content without hidden nodes: one level, or with recursive all levels. A refusal is an
// *Error.
//
// read returns the published state. Keys are read as of one revision, directories as they are now,
// so a Get that read directories checks whether any changed meanwhile, and if so starts again with
// a newer reading. If directories change faster than it can read, it returns the last attempt: a
// directory that was created or removed during that attempt may or may not be in the result. When a
// compaction has overtaken it, it waits for the newer state and starts again.
//
// limit may end the Get, which then returns limit's error or mvcc.ErrStopped.
func Get(read func() mvcc.Reading, path []byte, recursive bool, now kv.ClusterTime, limit mvcc.Control) (n Node, index int64, err error) {
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
		n, err = getDirectory(r, path, recursive, now, limit)
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
	n, err = getDirectory(r, path, recursive, now, limit)
	return n, r.Revision(), err
}

// Hides reports whether v2 shows a directory at a path. Then a key of the same path, which only v3
// can have put, is invisible in v2.
func Hides(r mvcc.Reading, path []byte) (bool, error) {
	if !r.Mixed() {
		return false, nil
	}
	p, err := lookup(r, path, false)
	return p.is == folder, err
}

// getDirectory is Get at a path where the last lookup found no key.
func getDirectory(r mvcc.Reading, path []byte, recursive bool, now kv.ClusterTime, limit mvcc.Control) (Node, error) {
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
	l := lister{recursive: recursive, now: now, limit: limit}
	return l.list(r.Limited(limit), prefixOf(path), n)
}

// lister collects a directory's content by walking the keys and the entries of table d below it in
// parallel. Both are sorted by prefix, so that everything below a directory is consecutive; but a
// directory's own nodes are not sorted by name, since "/a-b" is before "/a/x", and a directory may
// follow a key of the same path, which it hides.
type lister struct {
	recursive bool
	now       kv.ClusterTime
	limit     mvcc.Control
	stopped   bool // by limit
	entries   int  // of table d that have been read
	bytes     int  // listed so far, as listBytesMax counts them
	// open has the directories that contain the current position, outermost first.
	open []openDir
	mem  []byte // memory for the nodes' keys and values
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
		return l.addKey(key, rec), l.goesOn()
	})
	if err == nil {
		l.addDirectories(dirs, nil)
	}
	switch {
	case err != nil:
	case l.stopped:
		err = mvcc.ErrStopped
	case l.bytes > listBytesMax:
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

// addDirectories adds the entries of table d that are before key; all, when key is nil.
func (l *lister) addDirectories(dirs *dirCursor, key []byte) {
	for dirs.more && l.goesOn() && (key == nil || bytes.Compare(dirs.prefix(), key) < 0) {
		if l.entries++; l.entries%entriesBetweenPauses == 0 {
			l.stopped = l.stopped || l.limit.Pause() != nil
		}
		prefix := dirs.prefix()
		if seek := l.enter(prefix, dirs.dir); seek != nil {
			dirs.seek(seek)
		} else {
			dirs.next()
		}
	}
}

// entriesBetweenPauses is after how many directories the limit is asked. Walks over keys ask it
// themselves.
const entriesBetweenPauses = 256

func (l *lister) goesOn() bool { return !l.stopped && l.bytes <= listBytesMax }

// count counts n bytes that are kept.
func (l *lister) count(n int) {
	l.bytes += n
	l.stopped = l.stopped || !l.limit.Gather(n)
}

// addKey adds a key, and returns the key to continue at; nil means the next one.
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

// listBytesMax limits the size of a listing: keys, values, and nodeBytes for each node. It is a
// variable for tests.
var listBytesMax = 256 << 20

const nodeBytes = 160

// enter opens the directories that contain key; if key is the prefix of a directory, also that
// directory. Directories that it creates implicitly, and the last one, have the indexes and the
// deadline of as. It returns a seek key when the content must not be listed.
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

// add adds a node to a directory.
func (l *lister) add(to *openDir, n Node) {
	if last := len(to.node.Nodes) - 1; last >= 0 {
		switch order := bytes.Compare(to.node.Nodes[last].Key, n.Key); {
		case order == 0 && to.node.Nodes[last].Dir:
			return // table d and the keys below may both show the directory
		case order >= 0:
			to.sorted = false
		}
	}
	to.node.Nodes = append(to.node.Nodes, n)
	l.count(nodeBytes)
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
	// If a key and a directory have the same path, the key came first.
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
	l.count(len(b))
	at := len(l.mem)
	l.mem = append(l.mem, b...)
	return l.mem[at:len(l.mem):len(l.mem)]
}
