package check

import (
	"strings"
	"testing"
)

// TestForeign: the changes of clients outside of the history explain what its clients read and
// watch, and nothing beyond their keys.
func TestForeign(t *testing.T) {
	chaos := func(key string) bool { return strings.HasPrefix(key, "/chaos") }
	record := func() *History {
		r := newRecorder()
		w := r.watch()
		w.Dirs = false
		r.do(put("a", "1"))
		// Requests that are not recorded: two changes, and a directory that no watcher sees.
		events := func(n int) []Event { return r.h.Watches[0].Deliveries[n].Events }
		r.do(put("/chaos/x", "2"))
		r.do(Request{Txn: &Txn{Then: []Request{put("/chaos/x", "3"), put("/chaos/y", "4")}}})
		r.do(Request{Foreign: &Foreign{}})
		r.do(Request{Range: &Range{Key: "\x00", End: "\x00"}})
		r.do(del("/chaos/x"))
		r.do(get("/chaos/x"))
		r.do(put("a", "5"))
		if len(events(1)) != 1 || len(events(2)) != 2 {
			t.Fatal("the watch does not have the changes")
		}
		kept := r.h.Operations[:0]
		for _, o := range r.h.Operations {
			if chaosWrite := o.Request.Foreign != nil || o.Request.Txn != nil || o.Request.Delete != nil ||
				o.Request.Put != nil && chaos(o.Request.Put.Key); !chaosWrite {
				kept = append(kept, o)
			}
		}
		r.h.Operations = kept
		return &r.h
	}
	h := record()
	if n := h.AddForeign(chaos); n != 4 {
		t.Errorf("%d foreign changes, want 4", n)
	}
	wantVerdict(t, h, Options{}, "")

	h = record()
	wantVerdict(t, h, Options{}, "linearizable") // without them

	h = record() // a change of a client's own key is not foreign
	h.Operations = h.Operations[:len(h.Operations)-1]
	h.AddForeign(chaos)
	wantVerdict(t, h, Options{}, "linearizable")

	h = record() // a version that does not follow
	h.Watches[0].Deliveries[2].Events[0].KV.Version = 7
	h.AddForeign(chaos)
	wantVerdict(t, h, Options{}, "linearizable")
}
