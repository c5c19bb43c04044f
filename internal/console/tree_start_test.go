package console

import (
	"fmt"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// A page starts at any child: behind a number of keys, or at a key.
func TestTreeStart(t *testing.T) {
	b := newBench(t)
	b.put("/a", "/b/1", "/b/2", "/b/3", "/c", "/d/1", "/d/2", "/e")
	for _, c := range []struct {
		fields  string
		want    string
		skipped int64
	}{
		{`"skip":0`, "/a /b/(3) /c /d/(2) /e", 0},
		{`"skip":1`, "/b/(3) /c /d/(2) /e", 1},
		{`"skip":3`, "/b/(3) /c /d/(2) /e", 1}, // the fourth key is below /b/
		{`"skip":4`, "/c /d/(2) /e", 4},
		{`"skip":7`, "/e", 7},
		{`"skip":8`, "", 8},
		{`"skip":100`, "", 8},
		{`"from":` + quote("/c") + `,"skip":1`, "/d/(2) /e", 1},
		{`"at":` + quote("/b/2"), "/b/(3) /c /d/(2) /e", 1},
		{`"at":` + quote("/bb"), "/c /d/(2) /e", 4},
		{`"from":` + quote("/c") + `,"at":` + quote("/e"), "/e", 3},
		{`"from":` + quote("/c") + `,"at":` + quote("/c"), "/c /d/(2) /e", 0},
		{`"separator":"","skip":2`, "/b/2 /b/3 /c /d/1 /d/2 /e", 2},
	} {
		var got answer
		b.get("tree", `{"prefix":"Lw==",`+c.fields+`}`, &got)
		if got.String() != c.want || got.Skipped != c.skipped {
			t.Errorf("%s:\n got %s, %d skipped\nwant %s, %d skipped", c.fields, &got, got.Skipped, c.want, c.skipped)
		}
	}
}

// The skipped keys are those that the user may read.
func TestTreeStartPermissions(t *testing.T) {
	b := newBench(t)
	b.put("/a", "/app/1", "/app/2", "/app/w/1", "/other/1", "/other/2")
	b.enableAuth()
	for user, want := range map[string]string{"root": "/app/(3) /other/(2)", "alice": "/app/(3)"} {
		var got answer
		b.get("tree", `{"prefix":"Lw==","skip":2}`, &got, b.login(user))
		skipped := map[string]int64{"root": 1}[user]
		if got.String() != want || got.Skipped != skipped {
			t.Errorf("%s: %s, %d skipped; want %s, %d", user, &got, got.Skipped, want, skipped)
		}
	}
}

// In a directory of many keys a page in the middle has the keys of its place, and in the past about
// those, with their number.
func TestTreeStartOfMany(t *testing.T) {
	b := newBench(t)
	const keys = 5000
	name := func(i int) string { return fmt.Sprintf("%06d", i) }
	b.fill("/flat/", keys, name)
	past := b.m.Keys().Head().Revision
	for _, skip := range []int{1, 383, 384, 1000, keys / 2, keys - 1} {
		var got answer
		b.get("tree", fmt.Sprintf(`{"prefix":%s,"skip":%d,"limit":3}`, quote("/flat/"), skip), &got)
		if len(got.Items) == 0 || string(got.Items[0].Name) != name(skip) || got.Skipped != int64(skip) {
			t.Errorf("behind %d keys: %s, %d skipped", skip, &got, got.Skipped)
		}
	}
	b.txn(mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/flat/"), End: []byte("/flat/" + name(100))}}})
	var got answer
	b.get("tree", fmt.Sprintf(`{"prefix":%s,"skip":%d,"limit":3,"revision":%d}`, quote("/flat/"), keys/2, past), &got)
	if len(got.Items) != 3 || string(got.Items[0].Name) != name(int(got.Skipped)) || got.Skipped < keys/2-500 || got.Skipped > keys/2+500 {
		t.Errorf("in the past, behind %d keys: %s, %d skipped", keys/2, &got, got.Skipped)
	}
	b.propose(machine.KindCompact, machine.AppendCompact(nil, b.m.Keys().Head().Revision))
	b.get("tree", fmt.Sprintf(`{"prefix":%s,"skip":%d}`, quote("/flat/"), keys-100), &got)
	if got.Skipped != keys-100 || len(got.Next) > 0 {
		t.Errorf("behind all keys: %d skipped, next %q", got.Skipped, got.Next)
	}
}
