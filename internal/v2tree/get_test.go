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

// mustApply applies one command in its own batch.
func (s *state) mustApply(c Command) {
	s.t.Helper()
	s.begin()
	if _, err := s.apply(&c); err != nil {
		s.t.Fatalf("%+v: %v", c, err)
	}
	s.commit()
}

// TestGetBeginsAgain changes directories after a reading is taken and before its directories are
// read.
func TestGetBeginsAgain(t *testing.T) {
	s := newState(t)
	defer s.close()
	s.mustApply(Command{Kind: KindSet, Path: []byte("/d"), Dir: true})
	s.mustApply(Command{Kind: KindSet, Path: []byte("/d/x"), Value: []byte("1")})
	tries, changes := 0, 1
	read := func() mvcc.Reading {
		r := s.store.Reading()
		if tries++; tries <= changes {
			s.mustApply(Command{Kind: KindDelete, Path: []byte("/d"), Recursive: true})
			s.mustApply(Command{Kind: KindSet, Path: []byte("/d/y"), Value: []byte("2")})
		}
		return r
	}
	n, index, err := Get(read, []byte("/d"), false, s.now, mvcc.Unlimited)
	if err != nil || index != 5 || tries != 2 || n.Created != 5 || len(n.Nodes) != 1 || string(n.Nodes[0].Key) != "/d/y" {
		t.Errorf("after %d tries: %+v at %d, %v", tries, n, index, err)
	}
	// It returns the last attempt when directories change all the time.
	tries, changes = 0, 1000
	n, _, err = Get(read, []byte("/d"), false, s.now, mvcc.Unlimited)
	var refused *Error
	// true between the two changes
	gone := errors.As(err, &refused) && refused.Code == CodeKeyNotFound
	if tries != movedTriesMax+1 || !gone && (err != nil || !n.Dir) {
		t.Errorf("after %d tries: %+v at %d, %v", tries, n, index, err)
	}
	// A key does not depend on directories.
	tries = 0
	if n, _, err = Get(read, []byte("/d/y"), false, s.now, mvcc.Unlimited); err != nil || tries != 1 || string(n.Value) != "2" {
		t.Errorf("after %d tries: %+v, %v", tries, n, err)
	}
}

// TestListingSkipsSubtrees counts the keys that a listing of one level visits.
func TestListingSkipsSubtrees(t *testing.T) {
	s := newState(t)
	defer s.close()
	s.begin()
	for _, dir := range []string{"/a", "/b", "/_h", "/c//", "/c/.."} {
		for i := range 100 {
			s.put(fmt.Sprintf("%s/k%03d", dir, i), "v")
		}
	}
	s.put("/c/x", "v")
	s.commit()
	n, err := s.get("/", false)
	if err != nil || len(n.Nodes) != 3 {
		t.Fatalf("%+v, %v", n, err)
	}
	visited := 0
	l := lister{now: s.now, limit: mvcc.Unlimited}
	l.open = append(l.open, openDir{node: Node{Dir: true}, prefix: []byte("/"), sorted: true})
	s.check(walkBelow(s.store.Reading(), []byte("/"), func(key []byte, rec *kv.Record) ([]byte, bool) {
		visited++
		return l.addKey(key, rec), true
	}))
	if visited != 4 { // one key below each of /a, /b, /_h and /c
		t.Errorf("a listing of three directories visited %d keys", visited)
	}
}

func TestDue(t *testing.T) {
	s := newState(t)
	defer s.close()
	for i := range 5 {
		s.mustApply(Command{
			Kind: KindSet, Path: fmt.Appendf(nil, "/k%d", i), Dir: i == 2, HasTTL: true, TTL: time.Duration(10-i) * time.Second,
		})
	}
	// Due ignores entries of other kinds in the same table.
	s.begin()
	s.b.Set(deadline.AppendKey(nil, deadline.Entry{Time: s.now, Kind: deadline.Lease, Name: []byte("lease")}), nil)
	s.commit()
	var paths []string
	due, err := Due(s.store.Reading(), 0, s.now+kv.ClusterTime(8*time.Second), 10)
	for _, c := range due {
		paths = append(paths, fmt.Sprint(string(c.Path), c.Dir, time.Duration(c.Deadline-s.now)))
	}
	if got := strings.Join(paths, " "); err != nil || got != "/k4false 6s /k3false 7s /k2true 8s" {
		t.Errorf("due: %s, %v", got, err)
	}
	if due, err = Due(s.store.Reading(), 0, s.now+kv.ClusterTime(8*time.Second), 3); len(due) != 2 || err != nil {
		t.Errorf("due: %+v, %v", due, err)
	}
	if later, err := Due(s.store.Reading(), s.now+kv.ClusterTime(7*time.Second), s.now+kv.ClusterTime(8*time.Second), 10); len(later) != 2 || err != nil {
		t.Errorf("due from 7 s on: %+v, %v", later, err)
	}
	// A command that is proposed too early, or twice, does nothing.
	s.begin()
	for range 2 {
		if res, err := s.apply(&due[0]); res.Action != kv.ActionNone || err != nil {
			t.Errorf("expired ahead of time: %+v, %v", res, err)
		}
	}
	s.now += kv.ClusterTime(6 * time.Second)
	for _, want := range []kv.Action{kv.ActionExpire, kv.ActionNone} {
		if res, err := s.apply(&due[0]); res.Action != want || err != nil {
			t.Errorf("%+v, %v, want %v", res, err, want)
		}
	}
	s.commit()
	s.checkInvariants()
}

func TestCorruptTables(t *testing.T) {
	s := newState(t)
	defer s.close()
	s.begin()
	s.b.Set([]byte("d/bad/"), []byte{0x80})
	s.b.Set([]byte("d/long/"), []byte{1, 1, 1})
	s.b.Set(append([]byte{byte(storage.TableDeadlines)}, "\x00short"...), nil)
	s.commit()
	for _, path := range []string{"/bad", "/long", "/"} {
		if _, _, err := Get(s.store.Reading, []byte(path), true, s.now, mvcc.Unlimited); !errors.Is(err, ErrCorrupt) {
			t.Errorf("get %s: %v", path, err)
		}
	}
	if _, err := Due(s.store.Reading(), 0, 1<<62, 1); !errors.Is(err, deadline.ErrCorrupt) {
		t.Errorf("due: %v", err)
	}
}
