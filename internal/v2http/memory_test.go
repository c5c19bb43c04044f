package v2http

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlineWriter counts the deadlines that are set.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	deadlines int
}

func (w *deadlineWriter) SetWriteDeadline(time.Time) error {
	w.deadlines++
	return nil
}

// The events of a stream are flushed one by one, and set no deadlines: the server sets one when a
// write has to wait.
func TestEventsSetNoDeadline(t *testing.T) {
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
	events := eventWriter{w: http.NewResponseController(w), to: w, stream: true}
	if err := events.send([]byte("event")); err != nil || !w.Flushed || w.Body.String() != "event" {
		t.Errorf("flushed %t, %q: %v", w.Flushed, w.Body, err)
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
