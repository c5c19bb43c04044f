package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"cairn/internal/kv"
)

// witness is a watcher with the events that it has received.
type witness struct {
	rng       kv.KeyRange
	start     int64       // the first revision that it must receive
	puts      bool        // only puts
	past      kv.KeyRange // also watched, before its start
	began     int64
	w         *Watcher
	got       []*Event
	compacted int64
}

func (x *witness) String() string {
	return fmt.Sprintf("watch of [%s, %s) from %d", x.rng.Key, x.rng.End, x.start)
}

// begin adds a witness to a stream.
func begin(s *Stream, r *rand.Rand, head int64) *witness {
	x := &witness{rng: randomRange(r), puts: r.IntN(3) == 0}
	if r.IntN(3) > 0 {
		x.start = 1 + r.Int64N(head+4)
	}
	var rev int64
	spec := Spec{Range: x.rng, Start: x.start, Owner: x}
	if x.puts {
		spec.Wants = func(e *Event) bool { return e.Type == kv.EventPut }
	}
	if x.start > 0 && r.IntN(3) == 0 {
		x.past = kv.KeyRange{Key: []byte{0}, End: []byte{0}}
		spec.HistoryRange = x.past
		spec.Wants = x.wants
	}
	if x.w, rev = s.Watch(spec); x.start == 0 {
		x.start = rev + 1
	}
	x.began = rev
	return x
}

// wants is the filter of a witness with a range of history.
func (x *witness) wants(e *Event) bool {
	if x.puts && e.Type != kv.EventPut {
		return false
	}
	return x.rng.Contains(e.Key) || !x.past.Empty() && x.past.Contains(e.Key) && e.Revision() <= x.began
}

// hear takes deliveries, and checks their order at once.
func hear(t testing.TB, deliveries []Delivery) {
	for _, d := range deliveries {
		x := d.Watcher.Owner().(*witness)
		if x.compacted != 0 {
			t.Errorf("%v receives a delivery after its end", x)
		}
		if x.compacted = d.Compacted; x.compacted == 0 && len(d.Events) == 0 {
			t.Errorf("%v receives an empty delivery", x)
		}
		for _, e := range d.Events {
			if n := len(x.got); n > 0 && e.Revision() == x.got[n-1].Revision() && e == d.Events[0] {
				t.Errorf("%v receives revision %d in pieces", x, e.Revision())
			}
			x.got = append(x.got, e)
		}
	}
}

// verify compares the events of a witness with the log. through is the revision up to which it must
// have received all.
func (x *witness) verify(t testing.TB, log []kv.Event, through int64) {
	if x.compacted != 0 {
		through = 0 // it ended, with the events so far
	}
	i := 0
	for j := range log {
		want := &log[j]
		rev := want.Record.Mod.Main
		if rev < x.start || !x.wants(&Event{Event: *want}) {
			continue
		}
		if i == len(x.got) {
			if rev <= through {
				t.Errorf("%v did not receive revision %d of %d", x, rev, through)
			}
			if x.compacted != 0 && x.compacted <= x.start {
				t.Errorf("%v ended, compacted at %d", x, x.compacted)
			}
			return
		}
		got := x.got[i]
		if got.Record.Mod != want.Record.Mod || !bytes.Equal(got.Key, want.Key) || got.Type != want.Type || got.Dir != want.Dir ||
			!bytes.Equal(got.Record.Value, want.Record.Value) || got.Prev.Mod != want.Prev.Mod ||
			// compacted to this very revision
			!bytes.Equal(got.Prev.Value, want.Prev.Value) && (!got.PrevGone || len(got.Prev.Value) > 0) {
			t.Errorf("%v: event %d is %v %s, want %v %s", x, i, got.Record.Mod, got.Key, want.Record.Mod, want.Key)
			return
		}
		checkFirst(t, log, j, got)
		i++
	}
	if i < len(x.got) {
		t.Errorf("%v received %d events too many, the first is %v %s", x, len(x.got)-i, x.got[i].Record.Mod, x.got[i].Key)
	}
}

// checkFirst checks the First of the event at log[j].
func checkFirst(t testing.TB, log []kv.Event, j int, got *Event) {
	first := log[j-int(got.Record.Mod.Sub)]
	switch {
	case got.Record.Mod.Sub == 0 || !first.Dir:
		if got.First != nil {
			t.Errorf("event %v is a part of %v", got.Record.Mod, got.First.Record.Mod)
		}
	case got.First == nil || got.First.Record.Mod != first.Record.Mod || !bytes.Equal(got.First.Key, first.Key):
		t.Errorf("event %v is not a part of %v", got.Record.Mod, first.Record.Mod)
	}
}

// tiny are limits that are reached all the time.
func tiny(r *rand.Rand) Limits {
	some := func() int { return 1 + r.IntN(20) }
	return Limits{
		QueueBytes: some() * 400, WindowBytes: some() * 1000, StreamEvents: some(), HubEvents: 4 * some(),
		SliceEvents: some(), SliceBytes: some() * 500, DeliveryEvents: some(),
	}
}

// TestModel steps a hub, its streams and a writer in random order.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := newStore(t, tiny(r))
		streams := make([]*Stream, 1+r.IntN(4))
		for i := range streams {
			streams[i] = s.hub.NewStream()
		}
		var witnesses []*witness
		take := func(st *Stream) int {
			ds, err := st.Take()
			s.check(err)
			hear(t, ds)
			return len(ds)
		}
		for range 600 {
			st := streams[r.IntN(len(streams))]
			head := s.keys.Head().Revision
			switch r.IntN(16) {
			case 0, 1:
				witnesses = append(witnesses, begin(st, r, head))
			case 2:
				if len(witnesses) > 0 && r.IntN(3) == 0 {
					i := r.IntN(len(witnesses))
					x := witnesses[i]
					x.w.stream.Cancel(x.w)
					x.verify(t, s.log, 0)
					witnesses = append(witnesses[:i], witnesses[i+1:]...)
				}
			case 3:
				if r.IntN(8) == 0 && head > s.floor {
					s.compact(s.floor + 1 + r.Int64N(head-s.floor))
				}
			case 4, 5, 6, 7, 8:
				s.write(r)
			case 9, 10, 11:
				s.hub.Dispatch()
			default:
				take(st)
				if rev, ok := st.Synced(0); ok {
					for _, x := range witnesses {
						if x.w.stream == st {
							x.verify(t, s.log, rev)
						}
					}
				}
			}
		}
		drain(t, s, streams, take)
		for _, x := range witnesses {
			x.verify(t, s.log, s.keys.Head().Revision)
		}
		for _, st := range streams {
			st.Close()
		}
		checkEmpty(t, s.hub)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// drain takes from the streams until nothing is left.
func drain(t *testing.T, s *store, streams []*Stream, take func(*Stream) int) {
	s.hub.Dispatch()
	for _, st := range streams {
		for steps := 0; ; steps++ {
			rev, ok := st.Synced(s.keys.Head().Revision)
			if ok && rev == s.keys.Head().Revision {
				break
			}
			if steps > 10000 {
				t.Fatal("a stream does not catch up")
			}
			take(st)
			s.hub.Dispatch()
		}
	}
}

// checkEmpty checks that a hub whose streams are closed is empty.
func checkEmpty(t *testing.T, h *Hub) {
	if h.Watchers() != 0 || h.index.n != 0 || h.index.root != nil || len(h.index.exact) != 0 ||
		h.events != 0 || h.oldest != nil || h.newest != nil || len(h.streams) != 0 {
		t.Errorf("left in the hub: %d watchers, %d live, %d events, %d streams", h.Watchers(), h.index.n, h.events, len(h.streams))
	}
}

// TestConcurrently is TestModel with each part in its own goroutine.
func TestConcurrently(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := newStore(t, tiny(r))
		var dispatcher, consumers sync.WaitGroup
		stop := make(chan struct{})
		dispatcher.Go(func() {
			for {
				select {
				case <-s.hub.Wake():
					s.hub.Dispatch()
				case <-stop:
					return
				}
			}
		})
		written := make(chan struct{})
		results := make([][]*witness, 4)
		for i := range results {
			r := rand.New(rand.NewPCG(seed, uint64(10+i)))
			consumers.Go(func() { results[i] = consume(t, s.hub, r, written) })
		}
		for range 1500 {
			s.write(r)
			if head := s.keys.Head().Revision; r.IntN(100) == 0 && head > s.floor {
				s.compact(s.floor + 1 + r.Int64N(head-s.floor))
			}
		}
		close(written)
		consumers.Wait()
		close(stop)
		dispatcher.Wait()
		for _, witnesses := range results {
			for _, x := range witnesses {
				x.verify(t, s.log, s.keys.Head().Revision)
			}
		}
		checkEmpty(t, s.hub)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// consume adds watchers and takes their events, until everything was written and delivered.
func consume(t *testing.T, h *Hub, r *rand.Rand, written <-chan struct{}) (witnesses []*witness) {
	s := h.NewStream()
	defer s.Close()
	witnesses = append(witnesses, begin(s, r, 1))
	for done := false; ; {
		ds, err := s.Take()
		if err != nil {
			t.Error(err)
			return nil
		}
		hear(t, ds)
		if len(witnesses) < 200 && r.IntN(4) == 0 {
			// begin may choose a start 4 revisions after the given head. A start that is never
			// written would never be synced.
			witnesses = append(witnesses, begin(s, r, max(1, h.keys.Head().Revision-4)))
		}
		if len(ds) > 0 {
			continue
		}
		if done {
			if rev, ok := s.Synced(h.keys.Head().Revision); ok && rev == h.keys.Head().Revision {
				return witnesses
			}
		}
		select {
		case <-s.Wake():
		case <-written:
			written, done = nil, true
		}
	}
}
