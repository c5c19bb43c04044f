package watch

import (
	"testing"

	"cairn/internal/kv"
)

// crowd is some streams whose consumers wait for a token.
type crowd []*Stream

func newCrowd(s *store, streams int) (c crowd) {
	for range streams {
		stream := s.hub.NewStream()
		stream.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
		stream.Wake()
		c = append(c, stream)
	}
	return c
}

// woken returns the streams that have a token in Wake, and takes the tokens.
func (c crowd) woken() (woken crowd) {
	for _, s := range c {
		select {
		case <-s.wake:
			woken = append(woken, s)
		default:
		}
	}
	return woken
}

// take takes the events of each stream, and has its consumer wait again.
func (c crowd) take(t *testing.T, want int) {
	t.Helper()
	for _, s := range c {
		d, err := s.Take()
		if err != nil || len(d) != 1 || len(d[0].Events) != want {
			t.Fatalf("%d deliveries, want one of %d events: %v", len(d), want, err)
		}
		s.Wake()
	}
}

// A change wakes some streams at a time, and each of them once; the next ones when those before
// have taken their events.
func TestStreamsAreWokenInTurn(t *testing.T) {
	s := newStore(t, Limits{})
	all := newCrowd(s, 3*AwakeMax)
	s.batch(s.put("k", "v"))
	<-s.hub.Wake()
	s.hub.Dispatch()
	total := 0
	for round := range 4 {
		woken := all.woken()
		total += len(woken)
		if len(woken) > AwakeMax || round < 3 && len(woken) == 0 {
			t.Fatalf("round %d: %d streams are awake, want 1 to %d", round, len(woken), AwakeMax)
		}
		select {
		case <-s.hub.Wake():
			t.Fatal("there is something to dispatch while all that were woken are awake")
		default:
		}
		woken.take(t, 1)
		if s.hub.Crowded() {
			<-s.hub.Wake()
		}
		s.hub.Dispatch()
	}
	if total != len(all) || s.hub.Crowded() || s.hub.fanOut.awake != 0 {
		t.Errorf("%d of %d streams were woken, %d are awake", total, len(all), s.hub.fanOut.awake)
	}
}

// Fewer streams are woken at a time when they take long.
func TestFewerStreamsAwake(t *testing.T) {
	s := newStore(t, Limits{})
	all := newCrowd(s, AwakeMax)
	s.hub.SetAwakeMax(10)
	s.batch(s.put("k", "v"))
	s.hub.Dispatch()
	groups, total := s.hub.Groups(), 0
	for s.hub.Crowded() {
		woken := all.woken()
		if total += len(woken); len(woken) == 0 || len(woken) > 10 {
			t.Fatalf("%d streams are awake, want 1 to 10", len(woken))
		}
		woken.take(t, 1)
		s.hub.Dispatch()
		if groups++; s.hub.Groups() != groups {
			t.Fatalf("%d groups were woken, want %d", s.hub.Groups(), groups)
		}
	}
	if total += len(all.woken()); total != len(all) {
		t.Errorf("%d of %d streams were woken", total, len(all))
	}
}

// Streams that take nothing, and streams that end, do not keep others from being woken; events of
// later revisions do not wake a stream again; streams whose consumers are busy get a token at once.
func TestStreamsThatTakeNothing(t *testing.T) {
	s := newStore(t, Limits{})
	all := newCrowd(s, 3*AwakeMax)
	s.batch(s.put("k", "0"))
	s.hub.Dispatch()
	stuck := all.woken()
	if len(stuck) != AwakeMax {
		t.Fatalf("%d streams were woken, want %d", len(stuck), AwakeMax)
	}
	busy := newCrowd(s, 5)
	for _, b := range busy {
		if _, err := b.Take(); err != nil { // and does not come back to wait
			t.Fatal(err)
		}
	}
	s.batch(s.put("k", "1"))
	<-s.hub.Wake()
	s.hub.Dispatch()
	if n := len(busy.woken()); n != len(busy) {
		t.Fatalf("%d of %d busy streams have a token", n, len(busy))
	}
	if n := len(all.woken()); n != 0 {
		t.Fatalf("%d streams were woken out of turn", n)
	}
	s.hub.WakeStalled()
	first := all.woken()
	if len(first) != AwakeMax {
		t.Fatalf("%d streams were woken, want %d", len(first), AwakeMax)
	}
	for _, b := range first[1:] {
		b.Close()
	}
	first[:1].take(t, 2)
	rest := 0
	for s.hub.Crowded() {
		<-s.hub.Wake()
		s.hub.Dispatch()
		woken := all.woken()
		woken.take(t, 2)
		rest += len(woken)
	}
	if rest != AwakeMax {
		t.Errorf("%d streams were woken in the end, want %d", rest, AwakeMax)
	}
	stuck.take(t, 2)
	if s.hub.fanOut.awake != 0 {
		t.Errorf("%d streams are awake", s.hub.fanOut.awake)
	}
}

// Raising the number of streams that may be awake must not delay the next group, also while streams
// of the last group still take their events.
func TestMoreStreamsAwakeMeanwhile(t *testing.T) {
	s := newStore(t, Limits{})
	all := newCrowd(s, 100)
	s.hub.SetAwakeMax(awakePart)
	s.batch(s.put("k", "v"))
	<-s.hub.Wake()
	s.hub.Dispatch()
	woken := all.woken()
	woken[:awakePart-2].take(t, 1)
	s.hub.SetAwakeMax(2 * awakePart) // two streams are awake: as few as call for the next ones now
	woken[awakePart-2:].take(t, 1)
	select {
	case <-s.hub.Wake():
	default:
		t.Error("no stream is awake, and the others are not to be woken")
	}
}
