package watch

import (
	"errors"
	"slices"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// idle reports whether the stream has nothing to take, and no watcher that is behind.
func (s *Stream) idle() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.events == 0 && len(s.fallen) == 0 && s.behind.n == 0
}

// received takes from a stream until it is idle, and returns the values of the events.
func received(t *testing.T, s *Stream) (values []string) {
	t.Helper()
	for {
		deliveries, err := s.Take()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deliveries {
			for _, e := range d.Events {
				values = append(values, string(e.Record.Value))
			}
		}
		if s.idle() {
			return values
		}
	}
}

// TestUnpublished has a batch reach the store and not the hub, as when the state came from a
// snapshot: the watchers receive its events nevertheless.
func TestUnpublished(t *testing.T) {
	s := newStore(t, Limits{})
	st := s.hub.NewStream()
	defer st.Close()
	st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	s.batch(s.put("k", "1"))
	hub := s.hub
	s.hub = New(s.keys, Limits{})
	s.batch(s.put("k", "2"))
	s.hub = hub
	s.batch(s.put("k", "3"))
	s.hub.Dispatch()
	if got := received(t, st); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("received %q", got)
	}
}

// TestClose: Close ends streams that read history, and does not affect the applier.
func TestClose(t *testing.T) {
	s := newStore(t, Limits{})
	s.batch(s.put("k", "1"))
	st := s.hub.NewStream()
	defer st.Close()
	st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}, Start: 1})
	s.hub.Close()
	s.hub.Close()
	if _, err := st.Take(); !errors.Is(err, ErrClosed) {
		t.Errorf("take: %v", err)
	}
	<-s.hub.Closed()
	s.batch(s.put("k", "2"))
	s.hub.Dispatch()
}

// TestWatcherSynced checks the revision of progress notifications.
func TestWatcherSynced(t *testing.T) {
	s := newStore(t, Limits{})
	st := s.hub.NewStream()
	defer st.Close()
	w, _ := st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	future, _ := st.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}, Start: 100})
	expect := func(what string, w *Watcher, revision int64, synced bool) {
		t.Helper()
		rev, ok := w.Synced()
		if ok != synced || ok && rev != revision {
			t.Errorf("%s: synced at %d, %v; want %d, %v", what, rev, ok, revision, synced)
		}
	}
	expect("new", w, mvcc.FirstRevision, true)
	expect("future", future, 0, false)
	s.batch(s.put("k", "1"))
	s.hub.Dispatch()
	expect("with a queued event", w, 0, false)
	received(t, st)
	expect("after it was taken", w, 2, true)
	s.batch(s.put("other", "1"))
	s.hub.Dispatch()
	expect("after another key", w, 3, true)
}
