package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

type historyAnswer struct {
	Revision        int64
	CompactRevision int64 `json:"compact_revision"`
	Revisions       []struct {
		Type, Action string
		Mod          int64 `json:"mod_revision"`
		Create       int64 `json:"create_revision"`
		Version      int64
		Value        *[]byte
		TimeAfter    *time.Time `json:"time_after"`
		TimeBefore   *time.Time `json:"time_before"`
	}
	More bool
}

// String returns the versions as words: the revision, and the value or "deleted".
func (h *historyAnswer) String() string {
	var words []string
	for _, r := range h.Revisions {
		word := fmt.Sprintf("%d:", r.Mod)
		switch {
		case r.Type == "delete":
			word += "deleted"
		case r.Value == nil:
			word += "?"
		default:
			word += string(*r.Value)
		}
		if r.Action != "" {
			word += "/" + r.Action
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (b *bench) set(key, value string) {
	b.t.Helper()
	b.txn(mvcc.Op{Put: &mvcc.PutOp{Key: []byte(key), Value: []byte(value)}})
}

func (b *bench) del(key string) {
	b.t.Helper()
	b.txn(mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}}})
}

func TestHistory(t *testing.T) {
	b := newBench(t)
	b.set("/k", "a") // revision 2
	b.set("/k", "b")
	b.set("/other", "x")
	b.del("/k") // 5
	b.v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/k"), Value: []byte("c")})
	b.set("/k", "d") // 7
	for _, c := range []struct {
		request, want string
		more          bool
	}{
		{`{"key":"L2s="}`, "7:d 6:c/set 5:deleted 3:b 2:a", false},
		{`{"key":"L2s=","limit":2}`, "7:d 6:c/set", true},
		{`{"key":"L2s=","before":6}`, "5:deleted 3:b 2:a", false},
		{`{"key":"L2s=","before":2}`, "", false},
		{`{"key":"L2s=","before":3,"values":false}`, "2:?", false},
		{`{"key":` + quote("/never") + `}`, "", false},
	} {
		var got historyAnswer
		if b.get("history", c.request, &got); got.String() != c.want || got.More != c.more {
			t.Errorf("%s: %s, more %v; want %s", c.request, &got, got.More, c.want)
		}
	}
	// The version that was the current one at the compaction is kept, though its change is not.
	b.propose(machine.KindCompact, machine.AppendCompact(nil, 4))
	var got historyAnswer
	if b.get("history", `{"key":"L2s="}`, &got); got.String() != "7:d 6:c/set 5:deleted 3:b" || got.CompactRevision != 4 {
		t.Errorf("after a compaction to 4: %s", &got)
	}
	b.propose(machine.KindCompact, machine.AppendCompact(nil, 7))
	got = historyAnswer{}
	if b.get("history", `{"key":"L2s="}`, &got); got.String() != "7:d" {
		t.Errorf("after a compaction to 7: %s", &got)
	}
	got = historyAnswer{}
	if b.get("history", `{"key":`+quote("/other")+`}`, &got); got.String() != "4:x" {
		t.Errorf("a key from before the compaction: %s", &got)
	}
	b.enableAuth()
	if status, text := b.refused("history", `{"key":"L2s="}`, b.login("alice")); status != 403 || text != "permission denied" {
		t.Errorf("alice: %d %s", status, text)
	}
	b.get("history", `{"key":`+quote("/app/1")+`}`, &got, b.login("alice"))
}

// A page of history has at most pageBytesMax of values.
func TestHistoryOfLargeValues(t *testing.T) {
	b := newBench(t)
	large := strings.Repeat("x", 1<<20)
	for range 6 {
		b.set("/large", large)
	}
	var got historyAnswer
	b.get("history", `{"key":`+quote("/large")+`}`, &got)
	values := 0
	for _, r := range got.Revisions {
		if r.Value != nil {
			values++
		}
	}
	if len(got.Revisions) != 6 || values != 3 {
		t.Errorf("%d versions, %d of them with values", len(got.Revisions), values)
	}
}

// The times of revisions are those of the samples before and after.
func TestTimes(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	b := newBench(t, func(o *Options) { o.Now = func() time.Time { return now } })
	s := b.console.samples
	s.take()
	b.set("/k", "a") // revision 2
	now = now.Add(10 * time.Second)
	s.take()
	b.set("/k", "b") // revision 3, after the last sample
	var got historyAnswer
	b.get("history", `{"key":"L2s="}`, &got)
	newest, oldest := got.Revisions[0], got.Revisions[1]
	if newest.TimeBefore != nil || newest.TimeAfter == nil || !newest.TimeAfter.Equal(now) {
		t.Errorf("the newest: after %v, before %v", newest.TimeAfter, newest.TimeBefore)
	}
	if oldest.TimeBefore == nil || !oldest.TimeBefore.Equal(now) || oldest.TimeAfter == nil || !oldest.TimeAfter.Equal(now.Add(-10*time.Second)) {
		t.Errorf("the oldest: after %v, before %v", oldest.TimeAfter, oldest.TimeBefore)
	}
	// Revisions are known for thirty days, one in ten minutes after the first hour.
	for range 40 * 24 * 360 {
		now = now.Add(10 * time.Second)
		s.mu.Lock()
		s.sightLocked(sighting{1, now})
		s.mu.Unlock()
	}
	var times timesResponse
	b.get("times", "{}", &times)
	n := len(times.Samples)
	if n < sightingsMax || n > sightingsMax+samplesMax {
		t.Errorf("%d samples", n)
	}
	for i := 1; i < n; i++ {
		if step := times.Samples[i].Time.Sub(times.Samples[i-1].Time); step <= 0 || step > 2*sightingInterval {
			t.Fatalf("sample %d of %d is %v after the one before", i, n, step)
		}
	}
}

func TestSearch(t *testing.T) {
	b := newBench(t)
	b.set("/app/one", "Hello")
	b.set("/app/two", "\x00\xffbinary")
	b.set("/App/hello", "x")
	b.set("z", "hello")
	for _, c := range []struct{ request, want string }{
		{`{"text":` + quote("hello") + `}`, "/App/hello"},
		{`{"text":` + quote("hello") + `,"in":"value"}`, "z"},
		{`{"text":` + quote("hello") + `,"in":"both"}`, "/App/hello z"},
		{`{"text":` + quote("HELLO") + `,"in":"both","ignore_case":true}`, "/App/hello /app/one z"},
		{`{"text":` + quote("HELLO") + `,"in":"both","ignore_case":true,"prefix":` + quote("/app/") + `}`, "/app/one"},
		{`{"text":` + quote("\xff") + `,"in":"value"}`, "/app/two"},
		{`{"text":` + quote("nothing") + `}`, ""},
		{`{"text":` + quote("app") + `,"revision":2}`, "/app/one"},
	} {
		var got answer
		if b.get("search", c.request, &got); got.String() != c.want || len(got.Next) != 0 {
			t.Errorf("%s: %s, next %q; want %s", c.request, &got, got.Next, c.want)
		}
	}
	var all, page answer
	for request := `{"text":"Lw==","limit":1}`; request != ""; {
		page = answer{}
		b.get("search", request, &page)
		all.Items = append(all.Items, page.Items...)
		if request = ""; len(page.Next) > 0 {
			request = `{"text":"Lw==","limit":1,"from":` + quote(string(page.Next)) + `}`
		}
	}
	if all.String() != "/App/hello /app/one /app/two" {
		t.Errorf("page by page: %s", &all)
	}
	b.enableAuth()
	for user, want := range map[string]string{"root": "/App/hello /app/one z", "alice": "/app/one", "bob": ""} {
		var got answer
		if b.get("search", `{"text":`+quote("hello")+`,"in":"both","ignore_case":true}`, &got, b.login(user)); got.String() != want {
			t.Errorf("%s: %s, want %s", user, &got, want)
		}
	}
}
