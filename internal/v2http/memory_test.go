package v2http

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/watch"
)

// deadlineWriter counts the deadlines that are set.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	deadlines, flushes int
}

func (w *deadlineWriter) SetWriteDeadline(time.Time) error {
	w.deadlines++
	return nil
}

func (w *deadlineWriter) FlushError() error {
	w.flushes++
	return nil
}

// The events that a stream takes together are flushed together: thousands of streams have dozens of
// events each in their turn. They set no deadlines: the server sets one when a write has to wait.
func TestEventsAreFlushedTogether(t *testing.T) {
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
	events := eventWriter{h: &Handler{}, w: http.NewResponseController(w), to: w, stream: true}
	const each = 30
	for flushes := 1; flushes <= 2; flushes++ {
		var taken []*watch.Event
		for i := range each {
			rev := kv.Revision{Main: int64(flushes*each + i)}
			taken = append(taken, &watch.Event{Event: kv.Event{Action: kv.ActionSet, Key: []byte("/a"), Record: kv.Record{Value: []byte("v"), Mod: rev}}})
		}
		deliveries := []watch.Delivery{{Events: taken[:each/2]}, {Events: taken[each/2:]}}
		if !events.deliver(deliveries) || w.flushes != flushes || strings.Count(w.Body.String(), "\n") != flushes*each {
			t.Errorf("%d flushes of %q", w.flushes, w.Body)
		}
	}
	if !events.deliver(nil) || w.flushes != 2 {
		t.Errorf("%d flushes: one of nothing", w.flushes)
	}
	if w.deadlines != 0 {
		t.Errorf("%d deadlines were set", w.deadlines)
	}
}

// A long string that is sent in parts has the text of one that is encoded at once, also when it is
// not UTF-8 and characters of several bytes are where a part ends; and no part is long.
func TestLongStrings(t *testing.T) {
	characters := []string{"a", "\x00", "\"", "<", "é", "€", "\u2028", "😀", "\x80", "\xff", "\xf0\x9f"}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var s []byte
		for range rng.IntN(5 * stringPartBytes) {
			s = append(s, characters[rng.IntN(len(characters))]...)
		}
		var out []byte
		body := parts{send: func(text []byte) error {
			if len(text) >= longPartBytes+6*stringPartBytes {
				t.Errorf("seed %d: a part of %d bytes", seed, len(text))
			}
			out = append(out, text...)
			return nil
		}}
		body.rest(appendLongString(nil, s, body.part))
		if want := appendString(nil, s); !bytes.Equal(out, want) {
			t.Fatalf("seed %d: the texts of %d bytes differ", seed, len(s))
		}
	}
}
