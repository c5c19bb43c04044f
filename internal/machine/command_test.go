package machine

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// TestFormats pins the bytes that docs/formats/entry.md shows.
func TestFormats(t *testing.T) {
	foo := kv.KeyRange{Key: []byte("foo")}
	putFoo := &mvcc.PutOp{Key: []byte("foo"), Value: []byte("bar")}
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"header":            {Header{Time: 1000, Origin: 0x8e9e05c52164694d, Batch: 5}.Append(nil), "01 00000000000003e8 8e9e05c52164694d 05"},
		"command":           {AppendCommand(nil, KindPut, AppendPut(nil, putFoo)), "01 09 00 03 666f6f 03 626172"},
		"put with a lease":  {AppendPut(nil, &mvcc.PutOp{Key: []byte("foo"), Lease: 0x1234, IgnoreValue: true, PrevKV: true}), "0b 0000000000001234 03 666f6f 00"},
		"delete of a range": {AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte("c")}, PrevKV: true}), "01 01 61 01 63"},
		"compaction":        {AppendCompact(nil, 300), "d804"},
		"v2":                {AppendCommand(nil, KindV2, (&v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/a"), Recursive: true}).Append(nil)), "05 06 01 06 02 02 2f61"},
		"transaction": {AppendTxn(nil, &mvcc.TxnOp{
			Compares: []mvcc.Compare{{KeyRange: foo, Target: mvcc.CompareMod, Result: mvcc.CompareGreater, Number: 7}},
			Success:  []mvcc.Op{{Put: putFoo}, {Delete: &mvcc.DeleteOp{KeyRange: foo}}},
			Failure:  []mvcc.Op{{Range: &mvcc.RangeOp{KeyRange: foo, Limit: 10, KeysOnly: true, Order: mvcc.SortDescend, Target: mvcc.SortByMod}}, {Txn: &mvcc.TxnOp{}}},
		}), "01 02 01 03 666f6f 00 0e 00" + "02 02 00 03 666f6f 03 626172 03 00 03 666f6f 00" +
			"02 01 10 02 03 03 666f6f 00 14 00 00 00 00 00 04 00 00 00"},
		"position": {position{index: 300, term: 2, revision: 200, compact: 100, time: 1000}.append(nil), "ac02 02 c801 64 e807 00"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if string(c.got) != string(want) {
			t.Errorf("%s: %x, documented %x", name, c.got, want)
		}
	}
}

// show prints a command such that equal commands have equal texts; nil and empty byte strings are
// printed alike.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(b), "null", `""`)
}

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, label)
}

func drawRange(t *rapid.T) kv.KeyRange {
	return kv.KeyRange{Key: drawBytes(t, "key"), End: drawBytes(t, "end")}
}

func drawPut(t *rapid.T) *mvcc.PutOp {
	return &mvcc.PutOp{
		Key: drawBytes(t, "key"), Value: drawBytes(t, "value"), Lease: kv.LeaseID(rapid.Int64().Draw(t, "lease")),
		PrevKV: rapid.Bool().Draw(t, "prev"), IgnoreValue: rapid.Bool().Draw(t, "ignore value"), IgnoreLease: rapid.Bool().Draw(t, "ignore lease"),
	}
}

func drawDelete(t *rapid.T) *mvcc.DeleteOp {
	return &mvcc.DeleteOp{KeyRange: drawRange(t), PrevKV: rapid.Bool().Draw(t, "prev")}
}

func drawRangeOp(t *rapid.T) *mvcc.RangeOp {
	n := func(label string) int64 { return rapid.Int64().Draw(t, label) }
	return &mvcc.RangeOp{
		KeyRange: drawRange(t), Limit: n("limit"), Revision: n("revision"),
		Order: mvcc.SortOrder(rapid.Byte().Draw(t, "order")), Target: mvcc.SortTarget(rapid.Byte().Draw(t, "target")),
		KeysOnly: rapid.Bool().Draw(t, "keys"), CountOnly: rapid.Bool().Draw(t, "count"),
		MinMod: n("min mod"), MaxMod: n("max mod"), MinCreate: n("min create"), MaxCreate: n("max create"),
	}
}

func drawTxn(t *rapid.T, depth int) *mvcc.TxnOp {
	txn := &mvcc.TxnOp{}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		txn.Compares = append(txn.Compares, mvcc.Compare{
			KeyRange: drawRange(t), Target: mvcc.CompareTarget(rapid.Byte().Draw(t, "target")),
			Result: mvcc.CompareResult(rapid.Byte().Draw(t, "result")), Number: rapid.Int64().Draw(t, "number"), Value: drawBytes(t, "value"),
		})
	}
	ops := func() (ops []mvcc.Op) {
		for range rapid.IntRange(0, 2).Draw(t, "ops") {
			switch rapid.IntRange(0, 3+min(0, 2-depth)).Draw(t, "op") {
			case 0:
				ops = append(ops, mvcc.Op{Put: drawPut(t)})
			case 1:
				ops = append(ops, mvcc.Op{Range: drawRangeOp(t)})
			case 2:
				ops = append(ops, mvcc.Op{Delete: drawDelete(t)})
			default:
				ops = append(ops, mvcc.Op{Txn: drawTxn(t, depth+1)})
			}
		}
		return ops
	}
	txn.Success, txn.Failure = ops(), ops()
	return txn
}

func reader(b []byte) *codec.Reader {
	r := codec.NewReader(b)
	return &r
}

// TestRoundTrip decodes every kind of encoded command.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		same := func(what string, d *codec.Reader, got, want any) {
			if d.End() != nil || show(got) != show(want) {
				t.Fatalf("%s came back as %s (%v), was %s", what, show(got), d.End(), show(want))
			}
		}
		h := Header{
			Time: kv.ClusterTime(rapid.Int64Min(0).Draw(t, "time")), Origin: rapid.Uint64().Draw(t, "origin"), Batch: rapid.Uint64().Draw(t, "batch"),
		}
		d := reader(h.Append(nil))
		gotHeader, err := decodeHeader(d)
		if err != nil {
			t.Fatal(err)
		}
		same("header", d, gotHeader, h)

		p, gotPut := drawPut(t), mvcc.PutOp{}
		d = reader(AppendPut(nil, p))
		decodePut(d, &gotPut)
		same("put", d, gotPut, *p)

		del, gotDelete := drawDelete(t), mvcc.DeleteOp{}
		d = reader(AppendDelete(nil, del))
		decodeDelete(d, &gotDelete)
		same("delete", d, gotDelete, *del)

		rev := rapid.Int64().Draw(t, "compact")
		d = reader(AppendCompact(nil, rev))
		same("compaction", d, d.Varint(), rev)

		txn := drawTxn(t, 0)
		d = reader(AppendTxn(nil, txn))
		same("transaction", d, decodeTxn(d, 0), txn)

		pos := position{rapid.Uint64().Draw(t, "index"), 3, rapid.Int64Min(0).Draw(t, "revision"), 5, math.MaxInt64, 7}
		if got, err := decodePosition(pos.append(nil)); err != nil || got != pos {
			t.Fatalf("position came back as %+v, %v, was %+v", got, err, pos)
		}
	})
}

// TestCutPositionIsRefused: a truncated position is an error.
func TestCutPositionIsRefused(t *testing.T) {
	b := position{300, 300, 300, 300, 300, 300}.append(nil)
	for n := range b {
		if p, err := decodePosition(b[:n]); !errors.Is(err, errCorruptPosition) {
			t.Errorf("cut to %d bytes: %+v, %v", n, p, err)
		}
	}
}
