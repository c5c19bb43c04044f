package check

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// recorder makes histories: it executes requests on the model one after the other, or in an order
// that a test sets.
type recorder struct {
	h   History
	s   *State
	now int64
}

func newRecorder() *recorder { return &recorder{s: NewState()} }

// do executes a request, and records it.
func (r *recorder) do(req Request) *Operation {
	call, ret := r.now, r.now+5
	r.now += 10
	next, resp, events := Step(r.s, req, call, ret)
	r.s = next
	r.h.Operations = append(r.h.Operations, Operation{Client: len(r.h.Operations), Call: call, Return: ret, Request: req, Response: resp})
	if len(r.h.Watches) > 0 && len(events) > 0 {
		w := &r.h.Watches[0]
		w.Deliveries = append(w.Deliveries, Delivery{At: ret, Revision: next.Revision, Events: events})
	}
	return &r.h.Operations[len(r.h.Operations)-1]
}

// watch begins a watch of everything, which receives the changes of all later calls of do.
func (r *recorder) watch() *Watch {
	r.h.Watches = append(r.h.Watches, Watch{Key: "\x00", End: "\x00", Start: r.s.Revision + 1, Created: r.s.Revision, PrevKV: true, Dirs: true})
	return &r.h.Watches[len(r.h.Watches)-1]
}

func put(key, value string) Request { return Request{Put: &Put{Key: key, Value: value}} }
func get(key string) Request        { return Request{Range: &Range{Key: key}} }
func del(key string) Request        { return Request{Delete: &Delete{Key: key}} }
func lease(do int, id, ttl int64) Request {
	return Request{Lease: &Lease{Do: do, ID: id, TTL: ttl}}
}

// wantVerdict checks a history; guarantee "" means no violations.
func wantVerdict(t *testing.T, h *History, o Options, guarantee string) {
	t.Helper()
	res := Check(h, o)
	switch {
	case guarantee == "" && len(res.Violations) > 0:
		t.Errorf("good history: %v", res.Violations)
	case guarantee != "" && len(res.Violations) == 0:
		t.Errorf("no violation of %s was found", guarantee)
	case guarantee != "" && res.Violations[0].Guarantee != guarantee:
		t.Errorf("found %v, want a violation of %s", res.Violations[0], guarantee)
	}
}

func TestGoodHistories(t *testing.T) {
	r := newRecorder()
	r.watch()
	r.do(put("a", "1"))
	r.do(Request{Put: &Put{Key: "a", Value: "2", PrevKV: true}})
	r.do(get("a"))
	r.do(Request{Range: &Range{Key: "a", Revision: 2}})
	r.do(Request{Txn: &Txn{
		If:   []Compare{{Key: "a", Target: CompareVersion, Result: Equal, Number: 2}},
		Then: []Request{put("b", "3"), {Txn: &Txn{Then: []Request{put("c", "4"), {Range: &Range{Key: "a", End: "\x00"}}}}}},
	}})
	r.do(lease(Grant, 7, 10))
	r.do(Request{Put: &Put{Key: "l", Value: "5", Lease: 7}})
	r.do(lease(Revoke, 7, 0))
	r.do(del("nothing"))
	r.do(Request{Compact: &Compact{Revision: 3}})
	r.do(Request{Range: &Range{Key: "a", Revision: 2}})
	r.do(Request{Range: &Range{Key: "a", Revision: 99}})
	r.do(Request{V2: &V2{Do: V2Set, Path: "/x/y", Value: "6"}})
	r.do(Request{V2: &V2{Do: V2Get, Path: "/x", Recursive: true, Linearized: true}})
	r.do(Request{V2: &V2{Do: V2Delete, Path: "/x"}})
	r.do(Request{V2: &V2{Do: V2Delete, Path: "/x", Recursive: true}})
	r.do(Request{Delete: &Delete{Key: "a", End: "\x00", PrevKV: true}})
	wantVerdict(t, &r.h, Options{}, "")
	if ok, decided := Porcupine(&r.h, time.Minute); !ok || !decided {
		t.Errorf("porcupine: %t, decided %t", ok, decided)
	}
}

func TestLinearizability(t *testing.T) {
	cases := map[string]struct {
		make func(r *recorder)
		want string
	}{
		"stale read": {func(r *recorder) {
			r.do(put("a", "1"))
			old := *r.do(get("a"))
			r.do(put("a", "2"))
			old.Call, old.Return = r.now, r.now+5
			r.h.Operations = append(r.h.Operations, old)
		}, "linearizable"},
		"read of another value": {func(r *recorder) {
			r.do(put("a", "1"))
			r.do(get("a")).Response.Range.KVs[0].Value = "2"
		}, "linearizable"},
		"read of another version": {func(r *recorder) {
			r.do(put("a", "1"))
			r.do(get("a")).Response.Range.KVs[0].Version = 2
		}, "linearizable"},
		"revision used twice": {func(r *recorder) {
			r.do(put("a", "1"))
			r.do(put("b", "2")).Response.Revision = 2
		}, "linearizable"},
		"acknowledged write lost": {func(r *recorder) {
			r.do(put("a", "1"))
			s := r.s
			r.do(put("b", "2"))
			r.s = s
			r.do(get("b"))
		}, "linearizable"},
		"lost at the end": {func(r *recorder) {
			r.do(put("a", "1"))
			s := r.s
			r.do(put("b", "2"))
			r.s = s
			r.do(put("c", "3"))
		}, "linearizable"},
		"a revision that no request made": {func(r *recorder) {
			r.do(put("a", "1"))
			r.s, _, _ = Step(r.s, put("b", "2"), 0, 0)
			r.do(put("c", "3"))
		}, "linearizable"},
		"a write without an answer that happened": {func(r *recorder) {
			r.watch()
			r.do(put("a", "1"))
			r.do(put("b", "2")).Return = Never
			r.do(get("b"))
		}, ""},
		"a write without an answer that did not": {func(r *recorder) {
			r.watch()
			r.do(put("a", "1"))
			s := r.s
			r.do(put("b", "2")).Return = Never
			r.s = s
			w := &r.h.Watches[0]
			w.Deliveries = w.Deliveries[:len(w.Deliveries)-1]
			r.do(get("b"))
		}, ""},
		"a write that happened before it was asked for": {func(r *recorder) {
			r.watch()
			r.do(put("b", "2")).Return = Never
			r.do(get("b"))
			r.h.Operations[0].Call = r.now
		}, "linearizable"},
		"compacted, though it is not": {func(r *recorder) {
			r.do(put("a", "1"))
			op := r.do(Request{Range: &Range{Key: "a", Revision: 2}})
			op.Response = Response{Err: ErrCompacted}
			r.do(put("a", "2"))
		}, "linearizable"},
		"part of a transaction": {func(r *recorder) {
			r.watch()
			r.do(Request{Txn: &Txn{Then: []Request{put("a", "1"), put("b", "1")}}})
			r.h.Watches[0].Deliveries[0].Events = r.h.Watches[0].Deliveries[0].Events[:1]
		}, "watch-atomic"},
		"deleted twice": {func(r *recorder) {
			r.do(put("a", "1"))
			op := *r.do(del("a"))
			op.Call, op.Return, op.Response.Revision = r.now, r.now+5, 4
			r.h.Operations = append(r.h.Operations, op)
		}, "linearizable"},
		"v2 index apart from the revision": {func(r *recorder) {
			r.do(put("a", "1"))
			r.do(Request{V2: &V2{Do: V2Set, Path: "/k", Value: "v"}}).Response.Revision = 9
		}, "linearizable"},
		"v2 node with another index": {func(r *recorder) {
			r.do(Request{V2: &V2{Do: V2Set, Path: "/k", Value: "v"}}).Response.V2.Node.Modified = 9
		}, "linearizable"},
		"concurrent requests in either order": {func(r *recorder) {
			second := *r.do(put("a", "1"))
			first := *r.do(put("a", "2"))
			second.Call, first.Call, second.Return, first.Return = 0, 0, 50, 50
			r.h.Operations = []Operation{first, second}
		}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRecorder()
			c.make(r)
			wantVerdict(t, &r.h, Options{}, c.want)
		})
	}
}

func TestSerializable(t *testing.T) {
	history := func(spoil func(r *recorder, read *Operation)) *History {
		r := newRecorder()
		r.do(put("a", "1"))
		read := *r.do(Request{Range: &Range{Key: "a", Serializable: true}})
		r.do(put("a", "2"))
		read.Call, read.Return = r.now, r.now+5 // a late response is allowed
		spoil(r, &read)
		r.h.Operations = append(r.h.Operations, read)
		return &r.h
	}
	wantVerdict(t, history(func(*recorder, *Operation) {}), Options{}, "")
	wantVerdict(t, history(func(_ *recorder, o *Operation) { o.Response.Range.KVs[0].Value = "2" }), Options{}, "serializable")
	wantVerdict(t, history(func(_ *recorder, o *Operation) { o.Call, o.Return = -20, -10 }), Options{}, "serializable")
}

func TestLeases(t *testing.T) {
	const second = int64(1e9)
	leased := func(expiredAt int64, grace int64) (*History, Options) {
		r := newRecorder()
		r.watch()
		r.do(lease(Grant, 7, 10))
		r.do(Request{Put: &Put{Key: "l", Value: "1", Lease: 7}})
		if expiredAt > 0 {
			next, events := expireLease(r.s, 7)
			r.s = next
			r.h.Watches[0].Deliveries = append(r.h.Watches[0].Deliveries, Delivery{At: expiredAt, Revision: next.Revision, Events: events})
			r.now = expiredAt
		} else {
			r.now = 60 * second
		}
		r.do(get("l"))
		return &r.h, Options{ClockSlack: second / 10, LeaseGrace: grace}
	}
	h, o := leased(10*second, 0)
	wantVerdict(t, h, o, "")
	h, o = leased(9*second, 0)
	wantVerdict(t, h, o, "lease-early")
	h, o = leased(0, 20*second)
	wantVerdict(t, h, o, "lease-late")
	h, o = leased(0, 120*second)
	wantVerdict(t, h, o, "")

	t.Run("a lease without keys ends unseen", func(t *testing.T) {
		r := newRecorder()
		r.do(lease(Grant, 7, 10))
		r.do(put("a", "1"))
		r.now = 11 * second
		op := r.do(Request{Put: &Put{Key: "l", Value: "1", Lease: 7}})
		op.Response = Response{Err: ErrLeaseNotFound}
		r.h.Operations = append(r.h.Operations, Operation{Call: r.now, Return: r.now + 5, Request: get("l"), Response: Response{Revision: 2, Range: &RangeResponse{}}})
		wantVerdict(t, &r.h, Options{}, "")
		op = &r.h.Operations[2]
		op.Call, op.Return = 5*second, 5*second
		wantVerdict(t, &r.h, Options{}, "linearizable")
	})
}

func TestWatches(t *testing.T) {
	cases := map[string]struct {
		spoil func(w *Watch)
		want  string
	}{
		"good":       {func(*Watch) {}, ""},
		"lost event": {func(w *Watch) { w.Deliveries = append(w.Deliveries[:1:1], w.Deliveries[2:]...) }, "watch-reliable"},
		"delivered twice": {func(w *Watch) {
			w.Deliveries = append(w.Deliveries[:2:2], append([]Delivery{w.Deliveries[1]}, w.Deliveries[2:]...)...)
		}, "watch-unique"},
		"going back": {func(w *Watch) { w.Deliveries[0], w.Deliveries[1] = w.Deliveries[1], w.Deliveries[0] }, "watch-reliable"},
		"back after a gap at the end": {func(w *Watch) {
			w.Deliveries[2], w.Deliveries[3] = w.Deliveries[3], w.Deliveries[2]
			w.Deliveries = w.Deliveries[:4]
		}, "watch-reliable"},
		"torn revision": {func(w *Watch) {
			d := w.Deliveries[2]
			a, b := d, d
			a.Events, b.Events = d.Events[:1], d.Events[1:]
			w.Deliveries = append(w.Deliveries[:2:2], append([]Delivery{a, b}, w.Deliveries[3:]...)...)
		}, "watch-atomic"},
		"fragments": {func(w *Watch) {
			d := w.Deliveries[2]
			a, b := d, d
			a.Events, b.Events, a.Fragment = d.Events[:1], d.Events[1:], true
			w.Deliveries = append(w.Deliveries[:2:2], append([]Delivery{a, b}, w.Deliveries[3:]...)...)
		}, ""},
		"too early":        {func(w *Watch) { w.Start = 3 }, "watch-resumable"},
		"too late":         {func(w *Watch) { w.Deliveries = w.Deliveries[1:] }, "watch-reliable"},
		"other value":      {func(w *Watch) { w.Deliveries[0].Events[0].KV.Value = "x" }, "watch-true"},
		"other prev":       {func(w *Watch) { w.Deliveries[1].Events[0].Prev = &KV{Key: "a", Value: "x"} }, "watch-true"},
		"progress":         {func(w *Watch) { w.Deliveries = append(w.Deliveries, Delivery{Progress: true, Revision: 5}) }, ""},
		"progress ahead":   {func(w *Watch) { w.Deliveries[2] = Delivery{Progress: true, Revision: 4} }, "watch-bookmarkable"},
		"compacted":        {func(w *Watch) { w.Deliveries = []Delivery{{Compacted: 4}} }, ""},
		"wrong compaction": {func(w *Watch) { w.Deliveries = append(w.Deliveries, Delivery{Compacted: 2}) }, "watch-resumable"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRecorder()
			r.watch()
			r.do(put("a", "1"))
			r.do(put("a", "2"))
			r.do(Request{Txn: &Txn{Then: []Request{put("a", "3"), put("b", "3")}}})
			r.do(del("a"))
			other := r.h.Watches[0] // an intact watch explains the history
			other.Deliveries = nil
			for _, d := range r.h.Watches[0].Deliveries {
				d.Events = append([]Event(nil), d.Events...)
				other.Deliveries = append(other.Deliveries, d)
			}
			c.spoil(&other)
			r.h.Watches = append(r.h.Watches, other)
			wantVerdict(t, &r.h, Options{}, c.want)
		})
	}
}

func TestPermissions(t *testing.T) {
	auth := func(do int, name, role string, p Permission) Request {
		return Request{Auth: &Auth{Do: do, Name: name, Role: role, Permission: p}}
	}
	cluster := func() *recorder {
		r := newRecorder()
		r.do(auth(AuthUserAdd, "root", "", Permission{}))
		r.do(auth(AuthUserGrant, "root", "root", Permission{}))
		r.do(auth(AuthUserAdd, "u", "", Permission{}))
		r.do(auth(AuthRoleAdd, "r", "", Permission{}))
		r.do(auth(AuthRoleGrant, "r", "", Permission{"a", "c", ReadWriteKeys}))
		r.do(auth(AuthRoleGrant, "r", "", Permission{"c", "", ReadKeys}))
		r.do(auth(AuthUserGrant, "u", "r", Permission{}))
		r.do(auth(AuthEnable, "", "", Permission{}))
		return r
	}
	as := func(user string, r Request) Request {
		r.User = user
		return r
	}
	r := cluster()
	r.do(as("u", put("a", "1")))
	// denied
	r.do(as("u", put("c", "1")))
	// two permissions together
	r.do(as("u", Request{Range: &Range{Key: "a", End: "c\x00"}}))
	// denied
	r.do(as("u", Request{Range: &Range{Key: "a", End: "d"}}))
	// denied, wherever it occurs in the transaction
	r.do(as("u", Request{Txn: &Txn{Else: []Request{{Txn: &Txn{Then: []Request{get("x")}}}}}}))
	r.do(as("root", put("x", "2")))
	for i, want := range []string{"", ErrDenied, "", ErrDenied, ErrDenied, ""} {
		if got := r.h.Operations[8+i].Response.Err; got != want {
			t.Errorf("%v: error %q, want %q", r.h.Operations[8+i], got, want)
		}
	}
	wantVerdict(t, &r.h, Options{}, "")

	r = cluster() // a write that should have been denied
	s := *r.s
	s.auth = &authState{}
	next, resp, _ := Step(&s, put("x", "1"), 0, 0)
	r.h.Operations = append(r.h.Operations, Operation{Call: r.now, Return: r.now + 1, Request: as("u", put("x", "1")), Response: resp})
	_ = next
	wantVerdict(t, &r.h, Options{}, "linearizable")

	r = cluster() // a denial without reason
	r.h.Operations = append(r.h.Operations, Operation{
		Call: r.now, Return: r.now + 1, Request: as("u", put("a", "1")), Response: Response{Err: ErrDenied},
	})
	wantVerdict(t, &r.h, Options{}, "linearizable")
}

// TestAgainstPorcupine runs both checkers on random histories of overlapping requests; half of the
// histories were spoiled.
func TestAgainstPorcupine(t *testing.T) {
	bad := 0
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := randomHistory(rng, 14)
		ours := len(Check(h, Options{}).Violations) == 0
		theirs, decided := Porcupine(h, 20*time.Second)
		if decided && ours != theirs {
			t.Errorf("seed %d: Check finds %v, porcupine %t:\n%s", seed, Check(h, Options{}).Violations, theirs, show(h))
		}
		if !ours {
			bad++
		}
	}
	if bad == 0 || bad == 150 {
		t.Errorf("%d of 150 histories are bad: too few or too many to compare the checkers", bad)
	}
}

func show(h *History) string {
	var b strings.Builder
	for i := range h.Operations {
		fmt.Fprintln(&b, &h.Operations[i])
	}
	return b.String()
}

// randomHistory executes requests one after the other and then makes their times overlap; one of
// the responses may be swapped.
func randomHistory(rng *rand.Rand, n int) *History {
	r := newRecorder()
	key := func() string { return string(rune('a' + rng.IntN(3))) }
	for i := range n {
		switch rng.IntN(6) {
		case 0, 1:
			r.do(put(key(), fmt.Sprint(i)))
		case 2:
			r.do(del(key()))
		case 3:
			r.do(Request{Txn: &Txn{
				If:   []Compare{{Key: key(), Target: CompareVersion, Result: Greater}},
				Then: []Request{put(key(), fmt.Sprint(i)), get(key())}, Else: []Request{get(key())},
			}})
		case 4:
			r.do(Request{Compact: &Compact{Revision: rng.Int64N(6)}})
		default:
			r.do(Request{Range: &Range{Key: key(), Revision: rng.Int64N(4)}})
		}
	}
	for i := range r.h.Operations {
		o := &r.h.Operations[i]
		o.Call -= rng.Int64N(25)
		o.Return += rng.Int64N(25)
	}
	if rng.IntN(2) == 0 {
		a, b := &r.h.Operations[rng.IntN(n)], &r.h.Operations[rng.IntN(n)]
		if rng.IntN(2) == 0 {
			a.Response = b.Response
		} else {
			a.Call, a.Return, b.Call, b.Return = b.Call, b.Return, a.Call, a.Return
		}
	}
	return &r.h
}
