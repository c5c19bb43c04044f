package v2tree

import (
	"fmt"

	"cairn/internal/kv"
)

// setDirectory writes an entry of table d, and what goes with it.
func (a *applier) setDirectory(path []byte, old kv.ClusterTime, d directory) {
	a.b.Set(dirKey(make([]byte, 0, len(path)+2), path), d.append(nil))
	moveDeadline(a.b, deadlineDirectory, path, old, d.deadline)
	a.touchDirectories()
}

// touchDirectories notes that this command changes table d.
func (a *applier) touchDirectories() { a.b.Set(rootKey, directory{created: a.next}.append(nil)) }

// makeParents makes the directories that path lies in: in table d, where a
// directory stays when it is emptied. It refuses when one of them is a key.
func (a *applier) makeParents(path []byte) error {
	parent := parentOf(path)
	if isRoot(parent) {
		return nil
	}
	// By the invariant of table d, the nearest directory answers for all.
	if _, ok, err := lendDirectory(a.w.Reading(), dirKey(make([]byte, 0, len(path)+1), parent)); err != nil || ok {
		return err
	}
	missing := false
	for end := childEnd(path, 1); end < len(path); end = childEnd(path, end+1) {
		at := path[:end]
		p := place{is: nothing}
		if !missing {
			var err error
			if p, err = a.look(at, false); err != nil {
				return err
			}
		}
		switch p.is {
		case file:
			return a.refuse(CodeNotDirectory, at)
		case nothing:
			missing = true // and so is all below it
			p.dir.created = a.next
		}
		if !p.explicit {
			a.setDirectory(at, 0, p.dir)
		}
	}
	return nil
}

// dirRecord is how events tell of a directory.
func dirRecord(d directory) kv.Record {
	return kv.Record{CreateRevision: d.created, Mod: kv.Revision{Main: d.created}, Deadline: d.deadline}
}

// putDirectory makes a directory where a key (prev) or nothing is.
func (a *applier) putDirectory(path []byte, action kv.Action, prev kv.Record) Node {
	d := directory{created: a.next, deadline: a.deadline}
	a.setDirectory(path, 0, d)
	a.w.NoteDirectoryChange(kv.EventPut, action, path, dirRecord(d), prev)
	n := dirNode(path, d, a.now)
	n.Left = a.c.TTL
	return n
}

// updateDirectory gives a directory the command's TTL, or takes the TTL away.
func (a *applier) updateDirectory(path []byte, old place) (Node, error) {
	if !old.explicit {
		if err := a.makeParents(path); err != nil {
			return Node{}, err
		}
	}
	d := directory{created: old.dir.created, deadline: a.deadline}
	a.setDirectory(path, old.dir.deadline, d)
	a.w.NoteDirectoryChange(kv.EventPut, a.action(kv.ActionUpdate), path, dirRecord(d), dirRecord(old.dir))
	n := dirNode(path, d, a.now)
	n.Modified = a.next // told, but not kept
	n.Left = a.c.TTL
	return n, nil
}

// removeDirectory removes a directory and all that v2 sees below it, in one
// revision; also a key of the same path, so that afterwards nothing is there. The
// first event is the directory's own; the others follow.
func (a *applier) removeDirectory(path []byte, old place, action kv.Action) (Result, error) {
	if err := a.makeParents(path); err != nil {
		return Result{}, err
	}
	keys, dirs, err := a.collect(path)
	if err != nil {
		return Result{}, err
	}
	hidden, ok, err := a.w.Get(path)
	if err != nil {
		return Result{}, fmt.Errorf("read key: %w", err)
	}
	if ok {
		keys = append(keys, keyBelow{path, hidden.Deadline})
	}
	a.w.NoteDirectoryChange(kv.EventDelete, action, path, kv.Record{}, dirRecord(old.dir))
	if old.explicit {
		a.dropDirectory(path, old.dir.deadline)
	}
	for _, d := range dirs {
		a.w.NoteDirectoryChange(kv.EventDelete, action, d.path, kv.Record{}, dirRecord(d.directory))
		a.dropDirectory(d.path, d.deadline)
	}
	for _, k := range keys {
		if err := a.deleteKey(k.path, k.deadline, action); err != nil {
			return Result{}, err
		}
	}
	return Result{
		Action:  action,
		Node:    Node{Key: path, Dir: true, Modified: a.next, Created: old.dir.created},
		Prev:    dirNode(path, old.dir, a.now),
		HasPrev: true,
	}, nil
}

func (a *applier) dropDirectory(path []byte, deadline kv.ClusterTime) {
	a.b.Delete(dirKey(make([]byte, 0, len(path)+2), path))
	moveDeadline(a.b, deadlineDirectory, path, deadline, 0)
	a.touchDirectories()
}

type keyBelow struct {
	path     []byte
	deadline kv.ClusterTime
}

type dirBelow struct {
	path []byte
	directory
}

// collect returns copies of what lies below a directory: nothing may change while
// it is being walked.
func (a *applier) collect(path []byte) (keys []keyBelow, dirs []dirBelow, err error) {
	r, prefix := a.w.Reading(), prefixOf(path)
	err = walkBelow(r, prefix, func(key []byte, rec *kv.Record) ([]byte, bool) {
		keys = append(keys, keyBelow{append([]byte(nil), key...), rec.Deadline})
		return nil, true
	})
	if err != nil {
		return nil, nil, err
	}
	c := directoriesBelow(r, prefix)
	for ; c.more; c.next() {
		p := c.prefix()
		dirs = append(dirs, dirBelow{append([]byte(nil), p[:len(p)-1]...), c.dir})
	}
	return keys, dirs, c.close()
}
