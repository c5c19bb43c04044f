package v2tree

import (
	"errors"
	"fmt"

	"cairn/internal/deadline"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// delete removes a key, or a directory.
func (a *applier) delete() (Result, error) {
	path := a.c.Path
	if isRoot(path) {
		return Result{}, a.refuse(CodeRootReadOnly, path)
	}
	old, err := a.existing(path)
	switch {
	case err != nil:
		return Result{}, err
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
	old, err := a.existing(path)
	switch {
	case err != nil:
		return Result{}, err
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
	path, due := a.c.Path, a.c.Deadline
	if due > a.now || due <= 0 || isRoot(path) {
		return Result{}, nil
	}
	if a.c.Dir {
		old, err := a.lookup(path, false)
		if err != nil {
			return Result{}, err
		}
		if old.explicit && old.dir.deadline == due {
			return a.expireDirectory(path, old)
		}
		moveDeadline(a.b, deadline.Directory, path, due, 0)
		return Result{}, nil
	}
	rec, ok, err := a.w.Get(path)
	if err != nil {
		return Result{}, fmt.Errorf("read key: %w", err)
	}
	if ok && rec.Deadline == due {
		return a.removeKey(path, &rec, kv.ActionExpire)
	}
	moveDeadline(a.b, deadline.Key, path, due, 0)
	return Result{}, nil
}

// removeKey deletes the key at path.
func (a *applier) removeKey(path []byte, rec *kv.Record, action kv.Action) (Result, error) {
	// The directory remains when its last key is removed.
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

func (a *applier) deleteKey(path []byte, due kv.ClusterTime, action kv.Action) error {
	if _, err := a.w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: path}, Action: action}); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	moveDeadline(a.b, deadline.Key, path, due, 0)
	return nil
}

// isEmpty reports whether nothing is below a directory.
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
// the same path, so that no node is left at the path. The first event is the directory's own; the
// others follow.
func (a *applier) removeDirectory(path []byte, old place, action kv.Action) (Result, error) {
	if err := a.makeParents(path); err != nil {
		return Result{}, err
	}
	keys, dirs, more, err := a.collect(path)
	if err != nil {
		return Result{}, err
	}
	if more {
		return Result{}, mvcc.ErrTooLarge
	}
	return a.removeWhole(path, old, keys, dirs, action)
}

// removeWhole removes a directory with all nodes below it, which are keys and dirs.
func (a *applier) removeWhole(path []byte, old place, keys []keyBelow, dirs []dirBelow, action kv.Action) (Result, error) {
	hidden, ok, err := a.w.Get(path)
	if err != nil {
		return Result{}, fmt.Errorf("read key: %w", err)
	}
	if ok {
		keys = append(keys, keyBelow{path, hidden.Deadline})
	}
	if err := a.w.ChangeDirectory(kv.EventDelete, action, path, kv.Record{}, dirRecord(old.dir)); err != nil {
		return Result{}, err
	}
	if old.explicit {
		a.dropDirectory(path, old.dir.deadline)
	}
	if err := a.removeBelow(keys, dirs, action); err != nil {
		return Result{}, err
	}
	return Result{
		Action:  action,
		Node:    Node{Key: path, Dir: true, Modified: a.next, Created: old.dir.created},
		Prev:    dirNode(path, old.dir, a.now),
		HasPrev: true,
	}, nil
}

// expireDirectory removes a directory that has expired. If that is more than one command should
// change, it removes only a part of the nodes below: the directory and its deadline stay, so that
// the leader proposes the next part. Then it returns a zero Result.
func (a *applier) expireDirectory(path []byte, old place) (Result, error) {
	keys, dirs, more, err := a.collect(path)
	if err != nil {
		return Result{}, err
	}
	if more {
		return Result{}, a.removeBelow(keys, dirs, kv.ActionExpire)
	}
	return a.removeWhole(path, old, keys, dirs, kv.ActionExpire)
}

// removeBelow removes nodes below a directory, with an event for each.
func (a *applier) removeBelow(keys []keyBelow, dirs []dirBelow, action kv.Action) error {
	for _, d := range dirs {
		if err := a.w.ChangeDirectory(kv.EventDelete, action, d.path, kv.Record{}, dirRecord(d.directory)); err != nil {
			return err
		}
		a.dropDirectory(d.path, d.deadline)
	}
	for _, k := range keys {
		if err := a.deleteKey(k.path, k.deadline, action); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) dropDirectory(path []byte, due kv.ClusterTime) {
	a.b.Delete(dirKey(make([]byte, 0, len(path)+2), path))
	moveDeadline(a.b, deadline.Directory, path, due, 0)
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

// Limits of what one command removes below a directory. For keys, package mvcc limits every
// command. An expiry has no client that could remove less at a time, so it removes a part: nodes
// with as many bytes of paths and values as expiredBytesMax. Both are variables for tests.
var (
	removedDirBytesMax = removedBytesMax
	expiredBytesMax    = removedBytesMax
)

const removedBytesMax = 64 << 20

// collect returns copies of the nodes below a directory: the state must not change during the walk.
// When there are more than one command removes, more is set; for an expiry, the nodes are then a
// part that can be removed first, keys before directories, and directories after everything below
// them.
func (a *applier) collect(path []byte) (keys []keyBelow, dirs []dirBelow, more bool, err error) {
	r, prefix := a.w.Reading(), prefixOf(path)
	expires, size := a.c.Kind == KindExpire, 0
	err = walkBelow(r, prefix, func(key []byte, rec *kv.Record) ([]byte, bool) {
		size += len(key) + len(rec.Value)
		if more = expires && size > expiredBytesMax && len(keys) > 0; more {
			return nil, false
		}
		keys = append(keys, keyBelow{append([]byte(nil), key...), rec.Deadline})
		return nil, true
	})
	if err != nil || more {
		return keys, nil, more, err
	}
	size = 0
	first := 0 // index of the first of dirs that is removed
	c := directoriesBelow(r, prefix)
	for ; c.more; c.next() {
		p := c.prefix()
		size += len(p)
		if size > removedDirBytesMax && !expires {
			return nil, nil, true, c.close()
		}
		dirs = append(dirs, dirBelow{append([]byte(nil), p[:len(p)-1]...), c.dir})
		// A directory comes before those below it: remove the last ones first.
		for expires && size > expiredBytesMax && first < len(dirs)-1 {
			size -= len(dirs[first].path) + 1
			dirs[first].path = nil
			first++
		}
		if first > 1024 && first > len(dirs)/2 {
			dirs, first, more = append([]dirBelow(nil), dirs[first:]...), 0, true
		}
	}
	return keys, dirs[first:], more || first > 0, c.close()
}
