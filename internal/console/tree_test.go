package console

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

func TestTree(t *testing.T) {
	b := newBench(t)
	b.put("/a/1", "/a/2", "/a/b/1", "/a/b/2", "/c", "a", "a!", "a/x", "\xff\xff", "\xff\xffz", "/a/", "x::y", "x::z::1")
	b.v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v/empty"), Dir: true, HasTTL: true, TTL: time.Hour})
	b.v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/v/k"), Value: []byte("v2"), HasTTL: true, TTL: time.Hour})
	b.propose(machine.KindLease, (&lease.Command{Kind: lease.KindGrant, ID: 5, TTL: 100}).Append(nil))
	b.txn(mvcc.Op{Put: &mvcc.PutOp{Key: []byte("/l"), Value: []byte("v"), Lease: 5}})
	for _, c := range []struct{ request, want string }{
		{`{}`, "/(8) a a! a/(1) x::y x::z::1 \xff\xff \xff\xffz"},
		{`{"prefix":` + quote("/") + `}`, "/a/(5) /c /l for lease /v/(1)d"},
		{`{"prefix":` + quote("/a/") + `}`, "/a/ /a/1 /a/2 /a/b/(2)"},
		{`{"prefix":` + quote("/v/") + `}`, "/v/empty/(0)d for v2 /v/k for v2"},
		{`{"prefix":` + quote("/nothing/") + `}`, ""},
		{`{"prefix":` + quote("a") + `}`, "a a! a/(1)"},
		{`{"prefix":` + quote("x") + `,"separator":` + quote("::") + `}`, "x::(2)"},
		{`{"prefix":` + quote("x::") + `,"separator":` + quote("::") + `}`, "x::y x::z::(1)"},
		{`{"prefix":` + quote("/a/") + `,"separator":""}`, "/a/ /a/1 /a/2 /a/b/1 /a/b/2"},
		{`{"separator":` + quote("\xff") + `,"from":` + quote("x") + `}`, "x::y x::z::1 \xff(2)"},
		{`{"prefix":` + quote("\xff\xff") + `,"separator":` + quote("\xff") + `}`, "\xff\xff \xff\xffz"},
	} {
		var got answer
		b.get("tree", c.request, &got)
		if got.String() != c.want || len(got.Next) > 0 {
			t.Errorf("%s:\n got %s, next %q\nwant %s", c.request, &got, got.Next, c.want)
		}
		var paged answer
		for next := []byte(nil); ; {
			var in map[string]any
			if err := json.Unmarshal([]byte(c.request), &in); err != nil {
				t.Fatal(err)
			}
			in["limit"] = 1
			if next != nil {
				in["from"] = next
			}
			request, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			var part answer
			b.get("tree", string(request), &part)
			paged.Items = append(paged.Items, part.Items...)
			if next = part.Next; len(next) == 0 {
				break
			}
		}
		if paged.String() != c.want {
			t.Errorf("%s: page by page\n got %s\nwant %s", c.request, &paged, c.want)
		}
	}
}

// A page shows the past, also after a key has been deleted.
func TestTreeAsOfRevision(t *testing.T) {
	b := newBench(t)
	b.put("/a/1", "/a/2", "/b")
	past := b.m.Keys().Head().Revision
	b.txn(mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/a/"), End: []byte("/a0")}}})
	b.put("/c/1")
	var now, then answer
	b.get("tree", `{"prefix":"Lw=="}`, &now)
	b.get("tree", fmt.Sprintf(`{"prefix":"Lw==","revision":%d}`, past), &then)
	if now.String() != "/b /c/(1)" || then.String() != "/a/(2) /b" || then.Revision != past {
		t.Errorf("now %s, then %s at %d", &now, &then, then.Revision)
	}
	b.propose(machine.KindCompact, machine.AppendCompact(nil, b.m.Keys().Head().Revision))
	if status, text := b.refused("tree", fmt.Sprintf(`{"revision":%d}`, past)); status != 400 || text != "mvcc: required revision has been compacted" {
		t.Errorf("%d %s", status, text)
	}
	if status, text := b.refused("tree", `{"revision":1000}`); status != 400 || text != "mvcc: required revision is a future revision" {
		t.Errorf("%d %s", status, text)
	}
}

// Users see the keys that they may read, and counts of those alone.
func TestTreePermissions(t *testing.T) {
	b := newBench(t)
	b.put("/app/1", "/app/d/1", "/app/d/2", "/secret/1", "/apple", "z")
	b.enableAuth()
	for _, c := range []struct{ user, prefix, want string }{
		{"root", "", "/(5) z"},
		{"root", "/", "/app/(3) /apple /secret/(1)"},
		{"alice", "", "/(3)"},
		{"alice", "/", "/app/(3)"},
		{"alice", "/app/", "/app/1 /app/d/(2)"},
		{"alice", "/secret/", ""},
		{"bob", "", ""},
	} {
		var got answer
		b.get("tree", `{"prefix":`+quote(c.prefix)+`}`, &got, b.login(c.user))
		if got.String() != c.want {
			t.Errorf("%s below %q: %s, want %s", c.user, c.prefix, &got, c.want)
		}
	}
	if status, text := b.refused("tree", "{}"); status != 401 {
		t.Errorf("without a session: %d %s", status, text)
	}
}
