package v2tree

import (
	"cairn/internal/deadline"
	"cairn/internal/kv"
)

// setDirectory writes an entry of table d, and moves its deadline.
func (a *applier) setDirectory(path []byte, old kv.ClusterTime, d directory) error {
	if err := a.w.AddBytes(len(path)); err != nil {
		return err
	}
	a.b.Set(dirKey(make([]byte, 0, len(path)+2), path), d.append(nil))
	moveDeadline(a.b, deadline.Directory, path, old, d.deadline)
	a.touchDirectories()
	return nil
}

// touchDirectories records that this command changes table d.
func (a *applier) touchDirectories() { a.b.Set(rootKey, directory{created: a.next}.append(nil)) }

// makeParents makes the directories that path lies in: in table d, where a
// directory stays when it is emptied. It refuses when one of them is a key.
func (a *applier) makeParents(path []byte) error {
	parent := parentOf(path)
	if isRoot(parent) {
		return nil
	}
	// By the invariant of table d, all directories above one that it has exist, too.
	key := make([]byte, 0, len(path)+1)
	if _, ok, err := lendDirectory(a.w.Reading(), dirKey(key, parent)); err != nil || ok {
		return err
	}
	ends := nameEnds(parent)
	first, err := firstNot(ends, func(end int) (bool, error) {
		_, ok, err := lendDirectory(a.w.Reading(), dirKey(key, path[:end]))
		return ok, err
	})
	if err != nil {
		return err
	}
	missing := false
	for _, end := range ends[first:] {
		at := path[:end]
		p := place{is: nothing}
		if !missing {
			var err error
			if p, err = a.lookup(at, false); err != nil {
				return err
			}
		}
		switch p.is {
		case file:
			return a.refuse(CodeNotDirectory, at)
		case nothing:
			missing = true // and so are all below it
			p.dir.created = a.next
		}
		if !p.explicit {
			if err := a.setDirectory(at, 0, p.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirRecord is the record of a directory in events.
func dirRecord(d directory) kv.Record {
	return kv.Record{CreateRevision: d.created, Mod: kv.Revision{Main: d.created}, Deadline: d.deadline}
}

// putDirectory makes a directory in place of a key (prev) or of nothing.
func (a *applier) putDirectory(path []byte, action kv.Action, prev kv.Record) (Node, error) {
	d := directory{created: a.next, deadline: a.deadline}
	if err := a.setDirectory(path, 0, d); err != nil {
		return Node{}, err
	}
	if err := a.w.ChangeDirectory(kv.EventPut, action, path, dirRecord(d), prev); err != nil {
		return Node{}, err
	}
	n := dirNode(path, d, a.now)
	n.Left = a.c.TTL
	return n, nil
}

// updateDirectory sets a directory's TTL to the command's, or removes it.
func (a *applier) updateDirectory(path []byte, old place) (Node, error) {
	if !old.explicit {
		if err := a.makeParents(path); err != nil {
			return Node{}, err
		}
	}
	d := directory{created: old.dir.created, deadline: a.deadline}
	if err := a.setDirectory(path, old.dir.deadline, d); err != nil {
		return Node{}, err
	}
	if err := a.w.ChangeDirectory(kv.EventPut, a.action(kv.ActionUpdate), path, dirRecord(d), dirRecord(old.dir)); err != nil {
		return Node{}, err
	}
	n := dirNode(path, d, a.now)
	n.Modified = a.next // returned, but not stored
	n.Left = a.c.TTL
	return n, nil
}
