package v2tree

import (
	"bytes"
	"fmt"
	"sort"

	"cairn/internal/deadline"
	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Apply runs a command inside a command of w: the caller has called w.Start, and
// calls w.End, or w.Abort when there is an error. A refusal is an *Error; every
// other error is the store's. now is the cluster time of the command.
//
// The command's path and values must stay unchanged until w.Publish.
//
// An expiry that finds nothing to expire, or removes only a part of a directory, returns a zero
// Result.
func Apply(w *mvcc.Writer, now kv.ClusterTime, c *Command) (Result, error) {
	a := applier{w: w, b: w.Batch(), c: c, now: now, next: w.Revision() + 1}
	if c.HasTTL {
		a.deadline = deadlineOf(now, c.TTL)
	}
	var (
		res Result
		err error
	)
	switch c.Kind {
	case KindSet:
		res, err = a.set(c.Path)
	case KindCreate:
		res, err = a.create(c.Path)
	case KindCreateInOrder:
		if path := fmt.Appendf(prefixOf(c.Path), "%020d", a.next); TooDeep(path) {
			err = mvcc.ErrTooLarge
		} else {
			res, err = a.create(path)
		}
	case KindUpdate:
		res, err = a.update(kv.ActionUpdate)
	case KindCompareAndSwap:
		res, err = a.update(kv.ActionCompareAndSwap)
	case KindDelete:
		res, err = a.delete()
	case KindCompareAndDelete:
		res, err = a.compareAndDelete()
	case KindExpire:
		res, err = a.expire()
	default:
		err = fmt.Errorf("%w: kind %d", ErrBadCommand, c.Kind)
	}
	if err != nil {
		return Result{}, err
	}
	res.At = now
	res.Index = w.Revision()
	if invariant.Enabled {
		a.checkRevision(&res)
	}
	return res, nil
}

// checkRevision checks that a command that succeeded moves the revision by one, unless there was
// nothing to expire.
func (a *applier) checkRevision(res *Result) {
	moved := res.Index - (a.next - 1)
	invariant.Check(moved == 1 || moved == 0 && a.c.Kind == KindExpire, "a command of kind %d on %q moves the revision by %d", a.c.Kind, a.c.Path, moved)
}

// applier applies one command.
type applier struct {
	w        *mvcc.Writer
	b        *storage.Batch
	c        *Command
	now      kv.ClusterTime
	deadline kv.ClusterTime // from the command's TTL; 0 is none
	next     int64          // the revision of the command's changes
}

func (a *applier) refuse(code int, cause []byte) error {
	return &Error{Code: code, Cause: string(cause), Index: a.next - 1}
}

// lookup returns the node at a path, in the state before the command.
func (a *applier) lookup(path []byte, value bool) (place, error) {
	return lookup(a.w.Reading(), path, value)
}

// existing looks up a node with its value, and refuses the command if there is none.
func (a *applier) existing(path []byte) (place, error) {
	p, err := a.lookup(path, true)
	if err == nil && p.is == nothing {
		err = a.absent(path)
	}
	return p, err
}

// absent returns the refusal of a command that needs a node at path where there is none. It names
// the first ancestor that is missing, or that is a key instead of a directory.
func (a *applier) absent(path []byte) error {
	cause, code, err := obstacle(a.w.Reading(), path)
	if err != nil {
		return err
	}
	return a.refuse(code, cause)
}

// obstacle returns the reason why there is no node at path: the path at fault, and the code.
func obstacle(r mvcc.Reading, path []byte) (at []byte, code int, err error) {
	ends := nameEnds(path)
	above := ends[:len(ends)-1]
	// All ancestors of a directory are directories.
	i, err := firstNot(above, func(end int) (bool, error) {
		p, err := lookup(r, path[:end], false)
		return p.is == folder, err
	})
	if err != nil || i == len(above) {
		return path, CodeKeyNotFound, err
	}
	p, err := lookup(r, path[:above[i]], false)
	if p.is == file {
		return path[:above[i]], CodeNotDirectory, err
	}
	return path[:above[i]], CodeKeyNotFound, err
}

// nameEnds returns the offsets at which the names of a path end. path is not the root.
func nameEnds(path []byte) []int {
	ends := make([]int, 0, bytes.Count(path, slash))
	for end := 0; end < len(path); {
		end = childEnd(path, end+1)
		ends = append(ends, end)
	}
	return ends
}

// firstNot returns the index of the first end for which holds is false, or len(ends). It must be
// false for all later ends, too; then a binary search needs few calls.
func firstNot(ends []int, holds func(end int) (bool, error)) (int, error) {
	var failed error
	i := sort.Search(len(ends), func(i int) bool {
		ok, err := holds(ends[i])
		if err != nil {
			failed = err
		}
		return !ok
	})
	return i, failed
}

// action returns the action of the event of a write: name, or refresh.
func (a *applier) action(name kv.Action) kv.Action {
	if a.c.Refresh {
		return kv.ActionRefresh
	}
	return name
}

// set puts a key or a directory at path, replacing a key if there is one.
func (a *applier) set(path []byte) (Result, error) {
	if isRoot(path) {
		return Result{}, a.refuse(CodeRootReadOnly, path)
	}
	if !a.c.Dir && !a.c.Refresh && !a.w.Reading().Mixed() {
		return a.setUnmixed(path)
	}
	value := a.c.Value
	old, err := a.lookup(path, a.c.Refresh || a.c.Dir)
	switch {
	case err != nil:
		return Result{}, err
	case old.is == folder:
		return Result{}, a.refuse(CodeNotFile, path)
	case old.is == nothing && a.c.Refresh:
		return Result{}, a.absent(path)
	case a.c.Refresh:
		value = old.rec.Value
	}
	if err := a.makeParents(path); err != nil {
		return Result{}, err
	}
	res := Result{Action: kv.ActionSet, Created: old.is == nothing}
	if a.c.Dir {
		if res.Node, err = a.putDirectory(path, kv.ActionSet, old.rec); err != nil {
			return Result{}, err
		}
	} else if res.Node, old.rec, err = a.put(path, value, a.action(kv.ActionSet), true); err != nil {
		return Result{}, err
	}
	if old.is == nothing {
		return res, nil
	}
	res.Prev, res.HasPrev = fileNode(path, &old.rec, a.now), true
	if a.c.Dir {
		err = a.deleteKey(path, old.rec.Deadline, kv.ActionSet)
	}
	return res, err
}

// setUnmixed is set for a key, while v3 has written no such keys: no directory hides a key, and
// table d has all its ancestors. So it puts the key first, and makes the other checks only if the
// key is new; a refusal undoes the put.
func (a *applier) setUnmixed(path []byte) (Result, error) {
	n, old, err := a.put(path, a.c.Value, kv.ActionSet, true)
	if err != nil {
		return Result{}, err
	}
	if !old.Mod.IsZero() {
		return Result{Action: kv.ActionSet, Node: n, Prev: fileNode(path, &old, a.now), HasPrev: true}, nil
	}
	if _, ok, err := lendDirectory(a.w.Reading(), dirKey(make([]byte, 0, len(path)+2), path)); err != nil {
		return Result{}, err
	} else if ok {
		return Result{}, a.refuse(CodeNotFile, path)
	}
	return Result{Action: kv.ActionSet, Node: n, Created: true}, a.makeParents(path)
}

// create puts a key or a directory at path, which must not exist.
func (a *applier) create(path []byte) (Result, error) {
	if isRoot(path) {
		return Result{}, a.refuse(CodeRootReadOnly, path)
	}
	old, err := a.lookup(path, false)
	if err != nil {
		return Result{}, err
	}
	if old.is != nothing {
		return Result{}, a.refuse(CodeKeyExists, path)
	}
	if err := a.makeParents(path); err != nil {
		return Result{}, err
	}
	res := Result{Action: kv.ActionCreate, Created: true}
	if a.c.Dir {
		if res.Node, err = a.putDirectory(path, kv.ActionCreate, kv.Record{}); err != nil {
			return Result{}, err
		}
		return res, nil
	}
	res.Node, _, err = a.put(path, a.c.Value, kv.ActionCreate, true)
	return res, err
}

// update changes the node at the path: the value and TTL of a key, the TTL of a directory. A
// compareAndSwap needs a key, and compares it first.
func (a *applier) update(action kv.Action) (Result, error) {
	path := a.c.Path
	if isRoot(path) {
		return Result{}, a.refuse(CodeRootReadOnly, path)
	}
	old, err := a.existing(path)
	switch {
	case err != nil:
		return Result{}, err
	case old.is == folder && (action == kv.ActionCompareAndSwap || len(a.c.Value) > 0):
		return Result{}, a.refuse(CodeNotFile, path)
	case action == kv.ActionCompareAndSwap:
		if err := a.compare(&old.rec); err != nil {
			return Result{}, err
		}
	}
	res := Result{Action: action, HasPrev: true}
	if old.is == folder {
		res.Prev = dirNode(path, old.dir, a.now)
		res.Node, err = a.updateDirectory(path, old)
		return res, err
	}
	res.Prev = fileNode(path, &old.rec, a.now)
	value := a.c.Value
	if a.c.Refresh {
		value = old.rec.Value
	}
	res.Node, _, err = a.put(path, value, a.action(action), false)
	return res, err
}

// compare checks a key against the command's conditions.
func (a *applier) compare(rec *kv.Record) error {
	var cause []byte
	if want := a.c.PrevValue; len(want) > 0 && string(want) != string(rec.Value) {
		cause = fmt.Appendf(cause, "[%s != %s]", want, rec.Value)
	}
	if want := a.c.PrevIndex; want != 0 && want != uint64(rec.Mod.Main) {
		if cause != nil {
			cause = append(cause, ' ')
		}
		cause = fmt.Appendf(cause, "[%d != %d]", want, rec.Mod.Main)
	}
	if cause != nil {
		return a.refuse(CodeCompareFailed, cause)
	}
	return nil
}

// put writes a key and returns its node, and the record it replaced. With recreate the key gets a
// new create revision.
func (a *applier) put(path, value []byte, action kv.Action, recreate bool) (Node, kv.Record, error) {
	op := mvcc.PutOp{Key: path, Value: value, Deadline: a.deadline, Action: action, PrevKV: true, Recreate: recreate}
	res, err := a.w.Put(&op)
	if err != nil {
		return Node{}, kv.Record{}, fmt.Errorf("put key: %w", err)
	}
	n := Node{Key: path, HasValue: true, Value: value, Modified: a.next, Created: a.next}
	n.Expires, n.Left = a.c.HasTTL, a.c.TTL
	var old kv.Record
	if res.Prev != nil {
		old = res.Prev.Record
		if !recreate {
			n.Created = old.CreateRevision
		}
	}
	moveDeadline(a.b, deadline.Key, path, old.Deadline, a.deadline)
	return n, old, nil
}
