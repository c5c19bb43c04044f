package mvcc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// TestFormats pins the bytes that docs/formats/state-store.md shows.
func TestFormats(t *testing.T) {
	second := kv.Record{CreateRevision: 2, Mod: kv.Revision{Main: 3}, Version: 2, Value: []byte("yes")}
	first := kv.Record{CreateRevision: 2, Mod: kv.Revision{Main: 2}, Version: 1, Value: []byte("no")}
	gone := kv.Record{Mod: kv.Revision{Main: 5, Sub: 1}, Deleted: true}
	leased := kv.Record{CreateRevision: 300, Mod: kv.Revision{Main: 300}, Version: 1, Lease: 0x1234, Deadline: 1000, Value: []byte("v")}
	cases := map[string]struct {
		got  []byte
		want string
	}{
		"node of a new key":  {appendNode(nil, &node{Record: first, chain: chain{depth: 1}}), "00 02 02 01 6e6f"},
		"node of version 2":  {appendNode(nil, &node{Record: second, chain: chain{depth: 2}}), "10 03 02 00 02 02 796573"},
		"node with a path":   {appendNode(nil, &node{Record: second, chain: chain{depth: 3, path: []kv.Revision{{Main: 2}}}}), "10 03 03 01 01 00 02 02 796573"},
		"tombstone":          {appendNode(nil, &node{Record: gone, chain: chain{depth: 3, path: []kv.Revision{{Main: 3}}}}), "19 05 01 03 01 02 00"},
		"lease and deadline": {appendNode(nil, &node{Record: leased, chain: chain{depth: 1}}), "06 ac02 ac02 01 0000000000001234 e807 76"},
		"event of a new key": {appendEvent(nil, &event{Event: kv.Event{Key: []byte("foo"), Record: first}}), "00 00 03 666f6f 02 01 02 6e6f"},
		"event of a change":  {appendEvent(nil, &event{Event: kv.Event{Key: []byte("foo"), Action: kv.ActionSet, Record: second, Prev: first}}), "20 01 03 666f6f 02 02 03 796573 00 02 02 01 6e6f"},
		"event of a delete":  {appendEvent(nil, &event{Event: kv.Event{Type: kv.EventDelete, Key: []byte("foo"), Record: gone, Prev: second}, jump: kv.Revision{Main: 3}}), "31 00 03 666f6f 03 00 00 03 02 02 796573"},
		"event of directory": {appendEvent(nil, &event{Event: kv.Event{Key: []byte("/d"), Dir: true, Action: kv.ActionCreate, Record: kv.Record{CreateRevision: 7, Mod: kv.Revision{Main: 7}, Version: 1}}}), "40 02 02 2f64 07 01 00"},
		"key of table c":     {currentKey(nil, []byte("foo")), "63 666f6f"},
		"key of table r":     {eventKey(nil, kv.Revision{Main: 5, Sub: 1}), "72 0000000000000005 00000001"},
		"key of table x":     {tombstoneKey(nil, kv.Revision{Main: 5, Sub: 1}), "78 0000000000000005 00000001"},
	}
	for name, c := range cases {
		want, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(c.want), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.got, want) {
			t.Errorf("%s: %x, documented %x", name, c.got, want)
		}
	}
}

func drawRecord(t *rapid.T, label string) kv.Record {
	r := kv.Record{
		Mod: kv.Revision{
			Main: rapid.Int64Range(1, math.MaxInt64).Draw(t, label+" main"),
			Sub:  rapid.Int64Range(0, math.MaxUint32).Draw(t, label+" sub"),
		},
		Deleted: rapid.Bool().Draw(t, label+" deleted"),
	}
	if !r.Deleted {
		r.CreateRevision = rapid.Int64Range(1, r.Mod.Main).Draw(t, label+" create")
		r.Version = rapid.Int64Min(1).Draw(t, label+" version")
		r.Lease = kv.LeaseID(rapid.Int64().Draw(t, label+" lease"))
		r.Deadline = kv.ClusterTime(rapid.Int64Min(0).Draw(t, label+" deadline"))
		r.Value = rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, label+" value")
	}
	return r
}

// TestRecordsRoundTrip decodes encoded records, by both decoders of table c.
func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := node{Record: drawRecord(t, "now"), chain: chain{depth: 1}}
		n.chain.depth += uint64(rapid.IntRange(0, 70).Draw(t, "depth"))
		at := n.Mod
		if n.chain.depth > 1 {
			for range rapid.IntRange(0, 6).Draw(t, "path") {
				if at.Main < 2 {
					break
				}
				at = kv.Revision{Main: rapid.Int64Range(1, at.Main-1).Draw(t, "main"), Sub: rapid.Int64Range(0, 9).Draw(t, "sub")}
				n.chain.path = append(n.chain.path, at)
			}
		}
		b := appendNode(nil, &n)
		got, err := decodeNode(b)
		if len(got.chain.path) == 0 {
			got.chain.path = nil
		}
		if err != nil || !reflect.DeepEqual(got, n) && !got.Deleted {
			t.Fatalf("node %+v came back as %+v, %v", n, got, err)
		}
		if r, err := decodeRecord(b); err != nil || !reflect.DeepEqual(r, got.Record) {
			t.Fatalf("record of node %+v is %+v, %v", n, r, err)
		}

		e := event{Event: kv.Event{Key: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "key"), Record: n.Record}}
		e.Action = kv.Action(rapid.IntRange(0, 8).Draw(t, "action"))
		e.Dir = rapid.Bool().Draw(t, "dir")
		if e.Record.Deleted {
			e.Type = kv.EventDelete
		}
		if rapid.Bool().Draw(t, "has prev") {
			e.Prev = drawRecord(t, "prev")
		}
		if rapid.Bool().Draw(t, "has jump") {
			e.jump = kv.Revision{Main: 1 + rapid.Int64Range(0, 1000).Draw(t, "jump"), Sub: rapid.Int64Range(0, 5).Draw(t, "sub")}
		}
		if gotEvent, err := decodeEvent(e.Record.Mod, appendEvent(nil, &e)); err != nil || !reflect.DeepEqual(gotEvent, e) {
			t.Fatalf("event %+v came back as %+v, %v", e, gotEvent, err)
		}
	})
}

// TestCutRecordsAreRefused: a truncated record is an error, never a panic and never a wrong record.
func TestCutRecordsAreRefused(t *testing.T) {
	n := node{
		Record: kv.Record{CreateRevision: 200, Mod: kv.Revision{Main: 300, Sub: 2}, Version: 3, Lease: 5, Deadline: 1000},
		chain:  chain{depth: 7, path: []kv.Revision{{Main: 250}, {Main: 200, Sub: 1}}},
	}
	b := appendNode(nil, &n)
	for cut := range b {
		if got, err := decodeNode(b[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("node cut to %d of %d bytes: %+v, %v", cut, len(b), got, err)
		}
		if got, err := decodeRecord(b[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("record cut to %d of %d bytes: %+v, %v", cut, len(b), got, err)
		}
	}
	e := event{Event: kv.Event{Key: []byte("key"), Record: n.Record, Prev: n.Record}, jump: kv.Revision{Main: 9}}
	e.Record.Value = []byte("value")
	b = appendEvent(nil, &e)
	for cut := range b {
		if got, err := decodeEvent(n.Mod, b[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("event cut to %d of %d bytes: %+v, %v", cut, len(b), got, err)
		}
	}
}

// stable encodes decoded again, decodes the result, and fails if it differs.
func stable[T any](t *testing.T, first T, encode func(T) []byte, decode func([]byte) (T, error)) {
	b := encode(first)
	second, err := decode(b)
	if err != nil {
		t.Fatalf("%+v encodes to %x, which does not decode: %v", first, b, err)
	}
	if again := encode(second); !bytes.Equal(again, b) {
		t.Fatalf("%+v encodes to %x, and then to %x", first, b, again)
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte{0x10, 3, 3, 1, 1, 0, 2, 2, 'y'})
	f.Add([]byte{0x19, 5, 1, 3, 1, 2, 0})
	f.Add([]byte{0x06, 2, 2, 1, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 9, 'v'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rerr := decodeRecord(b)
		n, err := decodeNode(b)
		if err != nil {
			return
		}
		if rerr != nil || !reflect.DeepEqual(r, n.Record) {
			t.Fatalf("node %+v, record %+v, %v", n, r, rerr)
		}
		stable(t, n, func(n node) []byte { return appendNode(nil, &n) }, decodeNode)
	})
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte{0x31, 0, 3, 'f', 'o', 'o', 3, 0, 0, 3, 2, 2, 'y'})
	f.Add([]byte{0x40, 2, 2, '/', 'd', 7, 1, 0})
	rev := kv.Revision{Main: 9, Sub: 1}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEvent(rev, b)
		if err != nil {
			return
		}
		e.Record.Mod.Sub = rev.Sub
		stable(t, e, func(e event) []byte { return appendEvent(nil, &e) }, func(b []byte) (event, error) { return decodeEvent(rev, b) })
	})
}

func FuzzDecodeChain(f *testing.F) {
	f.Add([]byte{3, 1, 1, 0}, int64(3))
	f.Add([]byte{7, 2, 50, 0, 50, 1}, int64(300))
	f.Fuzz(func(t *testing.T, b []byte, mod int64) {
		at := kv.Revision{Main: mod, Sub: 1}
		decode := func(b []byte) (chain, error) {
			d := codec.NewReader(b)
			c := decodeChain(&d, at)
			return c, d.Err()
		}
		c, err := decode(b)
		if err != nil {
			return
		}
		for _, rev := range c.path {
			if !rev.Less(at) && rev != c.path[0] || rev.Main <= 0 {
				t.Fatalf("path %v of %v", c.path, at)
			}
		}
		stable(t, c, func(c chain) []byte { return c.append(nil, at) }, decode)
	})
}
