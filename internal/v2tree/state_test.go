package v2tree

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cairn/internal/deadline"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// state is a store with a writer, as package machine has them.
type state struct {
	t     *testing.T
	fs    storage.CrashableFS
	db    *storage.Store
	store *mvcc.Store
	w     *mvcc.Writer
	b     *storage.Batch
	now   kv.ClusterTime
}

// newState returns an empty state, which the caller closes.
func newState(t *testing.T) *state {
	s := &state{t: t, fs: storage.NewCrashableFS(), now: kv.ClusterTime(time.Hour)}
	s.open(mvcc.FirstRevision)
	return s
}

func (s *state) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *state) open(revision int64) {
	var err error
	s.db, err = storage.OpenState("state", storage.Options{FS: s.fs, MemTableBytes: 1 << 20, CacheBytes: 1 << 20})
	s.check(err)
	s.store, err = mvcc.Open(s.db, revision, 0)
	s.check(err)
	s.w, s.b = s.store.NewWriter(), s.db.NewBatch()
}

func (s *state) close() {
	s.check(s.b.Close())
	s.check(s.db.Close())
}

// reopen closes the store and opens it again from what is on disk.
func (s *state) reopen() {
	rev := s.store.Head().Revision
	s.check(s.db.Flush())
	s.close()
	s.open(rev)
}

func (s *state) begin() {
	s.b.Reset()
	s.check(s.w.Begin(s.b))
}

func (s *state) commit() {
	s.check(s.w.Finish())
	s.check(s.b.Commit(false))
	s.w.Publish()
}

// apply encodes, decodes and applies one command in the open batch.
func (s *state) apply(c *Command) (Result, error) {
	decoded, err := Decode(c.Append(nil))
	s.check(err)
	before := s.w.Revision()
	s.w.Start()
	res, err := Apply(s.w, s.now, &decoded)
	if err != nil {
		s.w.Abort()
		var refused *Error
		if !errors.As(err, &refused) {
			s.t.Fatalf("apply %+v: %v", c, err)
		}
		if refused.Index != before || s.w.Revision() != before {
			s.t.Fatalf("refusal %v at revision %d left %d", err, before, s.w.Revision())
		}
		return res, err
	}
	s.check(s.w.End())
	moved := int64(1)
	if c.Kind == KindExpire && res.Action == kv.ActionNone {
		moved = s.w.Revision() - before // 1 where a part of a directory was removed, else 0
	}
	if s.w.Revision() != before+moved || res.Action != kv.ActionNone && res.Index != before+1 {
		s.t.Fatalf("%+v: revision went from %d to %d, the result says %d", c, before, s.w.Revision(), res.Index)
	}
	return res, nil
}

func (s *state) put(key, value string) {
	s.w.Start()
	_, err := s.w.Put(&mvcc.PutOp{Key: []byte(key), Value: []byte(value)})
	s.check(err)
	s.check(s.w.End())
}

func (s *state) del(key, end string) {
	s.w.Start()
	op := mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}}
	if end != "" {
		op.End = []byte(end)
	}
	_, err := s.w.Delete(&op)
	s.check(err)
	s.check(s.w.End())
}

func (s *state) get(path string, recursive bool) (Node, error) {
	n, index, err := Get(s.store.Reading, []byte(path), recursive, s.now, mvcc.Unlimited)
	if head := s.store.Head().Revision; index != head {
		s.t.Fatalf("get %s: index %d of %d", path, index, head)
	}
	return n, err
}

// expireDue applies due commands until there are none, as a leader does.
func (s *state) expireDue(limit int, seen func(Result)) {
	for {
		due, err := Due(s.store.Reading(), 0, s.now, limit)
		s.check(err)
		if len(due) == 0 {
			return
		}
		s.begin()
		for i := range due {
			res, err := s.apply(&due[i])
			s.check(err)
			if seen != nil {
				seen(res)
			}
		}
		s.commit()
	}
}

// tables prints tables d and t.
func (s *state) tables() string {
	var out strings.Builder
	r := s.store.Reading()
	it := r.Cursor([]byte{byte(storage.TableDirectories)}, []byte{byte(storage.TableDirectories) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		d, err := decodeDirectory(it.Value())
		s.check(err)
		if string(it.Key()) == string(rootKey) {
			fmt.Fprintf(&out, "d/ last change %d\n", d.created)
			continue
		}
		fmt.Fprintf(&out, "%s created %d%s\n", it.Key(), d.created, at(d.deadline))
	}
	s.check(it.Close())
	it = r.Cursor([]byte{byte(storage.TableDeadlines)}, []byte{byte(storage.TableDeadlines) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		e, err := deadline.Parse(it.Key())
		s.check(err)
		fmt.Fprintf(&out, "t%s %c %s\n", at(e.Time), e.Kind, e.Name)
	}
	s.check(it.Close())
	return out.String()
}

// checkInvariants checks the invariants of tables d and t in the package comment.
func (s *state) checkInvariants() {
	s.t.Helper()
	r := s.store.Reading()
	dirs, deadlines := map[string]bool{"/": true}, map[string]bool{}
	it := r.Cursor([]byte{byte(storage.TableDeadlines)}, []byte{byte(storage.TableDeadlines) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		deadlines[string(it.Key())] = true
	}
	s.check(it.Close())
	hasDeadline := func(due kv.ClusterTime, kind deadline.Kind, path []byte) {
		if due != 0 && !deadlines[string(deadline.AppendKey(nil, deadline.Entry{Time: due, Kind: kind, Name: path}))] {
			s.t.Fatalf("%s has a deadline%s, and no entry in table t", path, at(due))
		}
	}
	c := directoriesBelow(r, []byte("/"))
	for ; c.more; c.next() {
		path := c.prefix()[:len(c.prefix())-1]
		if !dirs[string(parentOf(path))] {
			s.t.Fatalf("table d has %s, but not what it lies in", path)
		}
		dirs[string(path)] = true
		hasDeadline(c.dir.deadline, deadline.Directory, path)
	}
	s.check(c.close())
	s.check(r.Walk([]byte{0}, nil, func(key []byte, rec *kv.Record) ([]byte, bool) {
		hasDeadline(rec.Deadline, deadline.Key, key)
		return nil, true
	}))
}

// at prints a deadline.
func at(deadline kv.ClusterTime) string {
	if deadline == 0 {
		return ""
	}
	return " @" + time.Duration(deadline).String()
}
