package watch

import (
	"errors"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// The tests are named after issues of github.com/etcd-io/etcd.

// batchUnpublished is batch without a notification of the hub.
func (s *store) batchUnpublished(commands ...func(w *mvcc.Writer)) {
	s.b.Reset()
	s.check(s.w.Begin(s.b))
	for _, c := range commands {
		s.w.Start()
		c(s.w)
		s.check(s.w.End())
	}
	s.check(s.w.Finish())
	s.check(s.b.Commit(false))
	s.w.Publish()
}

// Test15271: events that the hub did not publish, as after a snapshot was installed, are delivered
// to watchers from history: in order, once, and none from before their start.
func Test15271(t *testing.T) {
	s := newStore(t, Limits{})
	st := s.hub.NewStream()
	defer st.Close()
	st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	var seen []int64
	take := func() {
		t.Helper()
		for range 3 {
			s.hub.Dispatch()
			deliveries, err := st.Take()
			s.check(err)
			for _, d := range deliveries {
				for _, e := range d.Events {
					seen = append(seen, e.Revision())
				}
			}
		}
	}
	s.batch(s.put("k", "2"))
	take()
	s.batchUnpublished(s.put("k", "3"))
	s.batchUnpublished(s.put("k", "4"))
	s.batch(s.put("k", "5"))
	take()
	for i, rev := range seen {
		if rev != int64(i)+2 {
			t.Fatalf("received the revisions %v", seen)
		}
	}
	if len(seen) != 4 {
		t.Errorf("received the revisions %v, want 2 to 5", seen)
	}
}

// Test20221: a watch with a start in the future delays the progress of its stream until then.
func Test20221(t *testing.T) {
	s := newStore(t, Limits{})
	st := s.hub.NewStream()
	defer st.Close()
	st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	future, _ := st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}, Start: 4})
	further, _ := st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}, Start: 100})
	expect := func(what string, revision int64, ok bool) {
		t.Helper()
		s.hub.Dispatch()
		received(t, st)
		if rev, synced := st.Synced(1); synced != ok || ok && rev != revision {
			t.Errorf("%s: synced at %d, %v", what, rev, synced)
		}
	}
	expect("new", 0, false)
	st.Cancel(further)
	select {
	case <-st.Wake():
	default:
		t.Error("the end of a future watch does not wake a stream that waits for progress")
	}
	expect("two revisions before", 0, false)
	if _, ok := future.Synced(); ok {
		t.Error("the future watch is synced")
	}
	s.batch(s.put("other", "2"))
	expect("the next is its first", 0, false)
	s.batch(s.put("other", "3"))
	expect("about to begin", 3, true)
	s.batch(s.put("k", "4"))
	expect("begun", 4, true)
}

// TestRoom: watchers and their keys, and the ends of watchers, are counted in the stream and in
// total.
func TestRoom(t *testing.T) {
	s := newStore(t, Limits{StreamWatchers: 3, StreamBytes: 100, HubWatchers: 5, HubBytes: 150})
	one, two := s.hub.NewStream(), s.hub.NewStream()
	defer two.Close()
	short := kv.KeyRange{Key: []byte("k")}
	long := kv.KeyRange{Key: make([]byte, 45), End: make([]byte, 45)}
	expect := func(st *Stream, r kv.KeyRange, want error) {
		t.Helper()
		if err := st.Room(r); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("room for a watcher: %v, want %v", err, want)
		}
	}
	add := func(st *Stream, r kv.KeyRange) *Watcher {
		t.Helper()
		expect(st, r, nil)
		w, _ := st.Watch(Spec{Range: r})
		return w
	}
	w := add(one, long)
	expect(one, long, ErrStreamFull)
	add(one, short)
	add(one, short)
	expect(one, short, ErrStreamFull)
	expect(two, long, ErrHubFull)
	add(two, short)
	add(two, short)
	expect(two, short, ErrHubFull)
	one.Cancel(w)
	add(two, long)
	one.Close()
	expect(two, short, ErrStreamFull)
}

// TestStartBeforeCompactRevision: a watch from revision 1 after a compaction at 2 is canceled,
// although history still has the event of revision 2. One from 2 gets it.
func TestStartBeforeCompactRevision(t *testing.T) {
	s := newStore(t, Limits{})
	s.batch(s.put("k", "2"))
	s.batch(s.put("k", "3"))
	s.compact(2)
	for start, want := range map[int64]int64{1: 2, 2: 0} {
		st := s.hub.NewStream()
		st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}, Start: start})
		s.hub.Dispatch()
		deliveries, err := st.Take()
		s.check(err)
		if len(deliveries) != 1 || deliveries[0].Compacted != want || want == 0 && len(deliveries[0].Events) != 2 {
			t.Errorf("watch from %d: %+v, want the end at compact revision %d", start, deliveries, want)
		}
		st.Close()
	}
}
