package v2tree

import (
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// delete removes a key, or a directory.
func (a *applier) delete() (Result, error) {
	path := a.c.Path
	if isRoot(path) {
		return Result{}, a.refuse(CodeRootReadOnly, path)
	}
	old, err := a.lookup(path, true)
	switch {
	case err != nil:
		return Result{}, err
	case old.is == nothing:
		return Result{}, a.absent(path)
	case old.is == file:
		return a.removeKey(path, &old.rec, kv.ActionDelete)
	case !a.c.Dir && !a.c.Recursive:
		return Result{}, a.refuse(CodeNotFile, path)
	case !a.c.Recursive:
		empty, err := a.isEmpty(path)
		if err != nil {
			return Result{}, err
		}
		if !empty {
			return Result{}, a.refuse(CodeDirectoryNotEmpty, path)
		}
	}
	return a.removeDirectory(path, old, kv.ActionDelete)
}

func (a *applier) compareAndDelete() (Result, error) {
	path := a.c.Path
	if isRoot(path) {
		return Result{}, a.refuse(CodeNotFile, nil) // etcd names no cause here
	}
	old, err := a.lookup(path, true)
	switch {
	case err != nil:
		return Result{}, err
	case old.is == nothing:
		return Result{}, a.absent(path)
	case old.is == folder:
		return Result{}, a.refuse(CodeNotFile, path)
	}
	if err := a.compare(&old.rec); err != nil {
		return Result{}, err
	}
	return a.removeKey(path, &old.rec, kv.ActionCompareAndDelete)
}

// expire removes the node if it still has the command's deadline.
func (a *applier) expire() (Result, error) {
	path, deadline := a.c.Path, a.c.Deadline
	if deadline > a.now || deadline <= 0 || isRoot(path) {
		return Result{}, nil
	}
	if a.c.Dir {
		old, err := a.lookup(path, false)
		if err != nil {
			return Result{}, err
		}
		if old.explicit && old.dir.deadline == deadline {
			return a.removeDirectory(path, old, kv.ActionExpire)
		}
		moveDeadline(a.b, deadlineDirectory, path, deadline, 0)
		return Result{}, nil
	}
	rec, ok, err := a.w.Get(path)
	if err != nil {
		return Result{}, fmt.Errorf("read key: %w", err)
	}
	if ok && rec.Deadline == deadline {
		return a.removeKey(path, &rec, kv.ActionExpire)
	}
	moveDeadline(a.b, deadlineKey, path, deadline, 0)
	return Result{}, nil
}

// removeKey deletes the key at path.
func (a *applier) removeKey(path []byte, rec *kv.Record, action kv.Action) (Result, error) {
	// The directory stays when the key was the last that it had.
	if err := a.makeParents(path); err != nil {
		return Result{}, err
	}
	return Result{
		Action:  action,
		Node:    Node{Key: path, Modified: a.next, Created: rec.CreateRevision},
		Prev:    fileNode(path, rec, a.now),
		HasPrev: true,
	}, a.deleteKey(path, rec.Deadline, action)
}

func (a *applier) deleteKey(path []byte, deadline kv.ClusterTime, action kv.Action) error {
	if _, err := a.w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: path}, Action: action}); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	moveDeadline(a.b, deadlineKey, path, deadline, 0)
	return nil
}

// isEmpty reports whether a directory has nothing below it.
func (a *applier) isEmpty(path []byte) (empty bool, err error) {
	r, prefix := a.w.Reading(), prefixOf(path)
	empty = true
	err = walkBelow(r, prefix, func([]byte, *kv.Record) ([]byte, bool) {
		empty = false
		return nil, false
	})
	if err != nil || !empty {
		return false, err
	}
	c := directoriesBelow(r, prefix)
	return !c.more, errors.Join(c.err, c.it.Close())
}

// removeDirectory removes a directory and all visible nodes below it in one revision, and a key of
// the same path, so that no node is left there. The first event is the directory's own; the others
// follow.
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

// removedDirBytesMax bounds the paths of the directories that one command removes; of keys package
// mvcc bounds them. An expiry has no bound: it has no client that could remove less at a time.
const removedDirBytesMax = 64 << 20

// collect returns copies of the nodes below a directory: the state must not change during the walk.
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
	size := 0
	for ; c.more; c.next() {
		p := c.prefix()
		if size += len(p); size > removedDirBytesMax && a.c.Kind != KindExpire {
			return nil, nil, errors.Join(mvcc.ErrTooLarge, c.close())
		}
		dirs = append(dirs, dirBelow{append([]byte(nil), p[:len(p)-1]...), c.dir})
	}
	return keys, dirs, c.close()
}
