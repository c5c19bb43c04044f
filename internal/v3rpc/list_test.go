package v3rpc

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// listOf encodes the values under consecutive numbers as keys.
func listOf(r *rangeResponse, values [][]byte) {
	for i, v := range values {
		rec := kv.Record{CreateRevision: int64(i + 1), Mod: kv.Revision{Main: int64(i + 1000)}, Version: 1, Lease: kv.LeaseID(i), Value: v}
		r.Add(fmt.Appendf(nil, "key%d", i), &rec)
	}
	r.header, r.count = header{clusterID: 1 << 63, memberID: 7, revision: 12, term: 3}, int64(len(values))
}

func wantList(values [][]byte, keysOnly, more bool) *etcdserverpb.RangeResponse {
	h := header{clusterID: 1 << 63, memberID: 7, revision: 12, term: 3}
	want := &etcdserverpb.RangeResponse{Header: h.proto(), Count: int64(len(values)), More: more}
	for i, v := range values {
		if keysOnly {
			v = nil
		}
		want.Kvs = append(want.Kvs, &mvccpb.KeyValue{
			Key: fmt.Appendf(nil, "key%d", i), Value: v, CreateRevision: int64(i + 1), ModRevision: int64(i + 1000), Version: 1, Lease: int64(i),
		})
	}
	return want
}

// wired returns the bytes that the transport sends: the pieces, or the whole message if there are
// none.
func wired(t interface{ Fatal(...any) }, m interface {
	WirePieces() ([][]byte, func([]byte))
	AppendWire(b []byte) ([]byte, error)
},
) []byte {
	pieces, done := m.WirePieces()
	if pieces == nil {
		b, err := m.AppendWire(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var b []byte
	for i, p := range pieces {
		if len(p) == 0 || len(p) > pieceBytes || i > 1 && i < len(pieces)-1 && len(p) < pieceBytes-fixedBytesMax {
			t.Fatal(fmt.Sprintf("piece %d of %d has %d bytes", i, len(pieces), len(p)))
		}
		b = append(b, p...)
		clear(p) // as its next user would
		done(p)
	}
	return b
}

func checkList(t interface {
	Fatal(...any)
	Helper()
}, b []byte, want *etcdserverpb.RangeResponse,
) {
	t.Helper()
	got := &etcdserverpb.RangeResponse{}
	if err := proto.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(normal(got), normal(want)) {
		t.Fatal(fmt.Sprintf("%d bytes with %d keys, count %d, more %v, are not the list of %d keys", len(b), len(got.Kvs), got.Count, got.More, len(want.Kvs)))
	}
}

// Lists of any length are the same in pieces, joined and in a stream.
func TestListsInPieces(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.IntRange(0, 400), rapid.IntRange(0, 70_000), rapid.IntRange(250_000, 600_000))
		var values [][]byte
		for range rapid.IntRange(0, 12).Draw(t, "keys") {
			n := length.Draw(t, "value")
			values = append(values, text[n%16:n%16+n])
		}
		keysOnly, more := rapid.Bool().Draw(t, "keys only"), rapid.Bool().Draw(t, "more")
		made := func() *rangeResponse {
			r := &rangeResponse{keysOnly: keysOnly, more: more}
			if rapid.Bool().Draw(t, "begun before") {
				listOf(r, values)
				r.Reset()
			}
			listOf(r, values)
			return r
		}
		want := wantList(values, keysOnly, more)
		joined := made()
		size := joined.SizeWire()
		b, err := joined.AppendWire([]byte("x"))
		if err != nil || len(b)-1 > size || b[0] != 'x' {
			t.Fatal(fmt.Sprintf("%d bytes, announced as %d: %v", len(b)-1, size, err))
		}
		checkList(t, b[1:], want)
		checkList(t, wired(t, made()), want)
		streamed := &chunk{rangeResponse: *made(), final: true}
		got := &etcdserverpb.RangeStreamResponse{}
		if err := proto.Unmarshal(wired(t, streamed), got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(normal(got.RangeResponse), normal(want)) {
			t.Fatal("the stream's last message is not the list")
		}
	})
}

// A key-value that crosses the end of a piece is encoded correctly, wherever the piece ends.
func TestListsAcrossPieces(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	for _, end := range []int{firstBytes, firstBytes + pieceBytes} {
		for before := end - 300; before <= end; before++ {
			values := [][]byte{text[:before], text[:150], text[:10]}
			var r rangeResponse
			listOf(&r, values)
			checkList(t, wired(t, &r), wantList(values, false, false))
		}
	}
}

// A list that fits one buffer is not split, one with a byte more is; and a buffer that is in use is
// not taken from the pool again.
func TestListsThatAreHeldTogether(t *testing.T) {
	small := [][]byte{bytes.Repeat([]byte("s"), firstBytes-2*fixedBytesMax)}
	large := [][]byte{bytes.Repeat([]byte("l"), firstBytes+pieceBytes), bytes.Repeat([]byte("m"), 2*pieceBytes)}
	var a, b, c rangeResponse
	listOf(&a, small)
	if pieces, _ := a.WirePieces(); pieces != nil {
		t.Errorf("a list of %d bytes has %d pieces", firstBytes-2*fixedBytesMax, len(pieces))
	}
	listOf(&b, large)
	held, done := b.WirePieces()
	listOf(&c, [][]byte{bytes.Repeat([]byte("x"), firstBytes+4*pieceBytes)})
	c.Drop()
	listOf(&c, large)
	checkList(t, wired(t, &a), wantList(small, false, false))
	checkList(t, bytes.Join(held, nil), wantList(large, false, false))
	checkList(t, wired(t, &c), wantList(large, false, false))
	for _, p := range held {
		done(p)
	}
}

// A message of a stream, other than the last, has only keys.
func TestChunksInPieces(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 5000)
	c := chunk{bytesMax: chunkBytes}
	var want [][]byte
	for n := 0; ; n++ {
		rec := kv.Record{CreateRevision: int64(n + 1), Mod: kv.Revision{Main: int64(n + 1000)}, Version: 1, Lease: kv.LeaseID(n), Value: value}
		if !c.Add(fmt.Appendf(nil, "key%d", n), &rec) {
			break
		}
		want = append(want, value)
	}
	if n := c.listBytes(); n < chunkBytes || n > chunkBytes+6000 || c.keys != int64(len(want)) {
		t.Fatalf("%d bytes and %d keys, want %d or little more, and %d keys", n, c.keys, chunkBytes, len(want))
	}
	got := &etcdserverpb.RangeStreamResponse{}
	if err := proto.Unmarshal(wired(t, &c), got); err != nil {
		t.Fatal(err)
	}
	list := wantList(want, false, false)
	list.Header, list.Count = nil, 0
	if !proto.Equal(got.RangeResponse, list) {
		t.Errorf("%d keys, want %d and nothing else", len(got.RangeResponse.GetKvs()), len(want))
	}
}

// onResetList is called when a read starts over, with the number of pieces that the list had.
type onResetList struct {
	rangeResponse
	onReset func(pieces int)
}

func (r *onResetList) Reset() {
	r.onReset(len(r.full) + 1)
	r.rangeResponse.Reset()
}

// A read that fails or starts over in the middle of a long list releases all of the list.
func TestListsThatBreakOff(t *testing.T) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	s, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	check(err)
	w, b := s.NewWriter(), db.NewBatch()
	defer func() {
		check(b.Close())
		check(db.Close())
	}()
	change := func(last func() error, commands ...func() error) {
		t.Helper()
		b.Reset()
		check(w.Begin(b))
		for _, c := range commands {
			w.Start()
			check(c())
			check(w.End())
		}
		check(last())
		check(w.Finish())
		check(b.Commit(false))
	}
	value := bytes.Repeat([]byte("v"), 5000)
	put := func(i int) func() error {
		return func() error {
			_, err := w.Put(&mvcc.PutOp{Key: fmt.Appendf(nil, "key%02d", i), Value: value})
			return err
		}
	}
	const keys = 100
	for i := range keys {
		change(func() error { return nil }, put(i))
		w.Publish()
	}
	// The last key's current version is newer than the head, and the previous one was compacted.
	change(func() error { return w.Compact(mvcc.FirstRevision + keys + 2) }, put(keys-1), put(keys-1))

	all := kv.KeyRange{Key: []byte("key"), End: []byte("l")}
	var older rangeResponse
	if _, err := s.Range(&mvcc.RangeOp{KeyRange: all, Revision: mvcc.FirstRevision + keys}, &older); !errors.Is(err, mvcc.ErrCompacted) || len(older.full) == 0 {
		t.Fatalf("error %v with %d pieces behind, want %v in the middle of a list", err, len(older.full), mvcc.ErrCompacted)
	}
	older.Drop()
	if older.kvs != nil || older.full != nil {
		t.Error("a list that was dropped is still there")
	}
	resets := 0
	list := onResetList{onReset: func(pieces int) {
		if resets++; resets == 1 {
			if pieces < 2 {
				t.Errorf("the read started over with %d pieces, which tests nothing", pieces)
			}
			w.Publish()
		}
	}}
	sum, err := s.Range(&mvcc.RangeOp{KeyRange: all}, &list)
	if err != nil || resets == 0 || sum.Count != keys {
		t.Fatalf("%+v, started over %d times, error %v", sum, resets, err)
	}
	got := &etcdserverpb.RangeResponse{}
	check(proto.Unmarshal(wired(t, &list.rangeResponse), got))
	if len(got.Kvs) != keys {
		t.Fatalf("%d keys, want %d", len(got.Kvs), keys)
	}
	for i, k := range got.Kvs {
		version := int64(1)
		if i == keys-1 {
			version = 3
		}
		if string(k.Key) != fmt.Sprintf("key%02d", i) || !bytes.Equal(k.Value, value) || k.Version != version {
			t.Errorf("key %d is %s, version %d, with %d bytes", i, k.Key, k.Version, len(k.Value))
		}
	}
}

// BenchmarkList measures a list of 1,000 keys of 256 B from the first key to the bytes that the
// transport sends.
func BenchmarkList(b *testing.B) {
	key, rec := bytes.Repeat([]byte("k"), 32), kv.Record{CreateRevision: 1e6, Mod: kv.Revision{Main: 1e7}, Version: 9, Value: bytes.Repeat([]byte("v"), 256)}
	list := func() *rangeResponse {
		r := &rangeResponse{count: 100_000, more: true}
		for range 1000 {
			r.Add(key, &rec)
		}
		return r
	}
	b.Run("pieces", func(b *testing.B) {
		for b.Loop() {
			pieces, done := list().WirePieces()
			for _, p := range pieces {
				done(p)
			}
		}
	})
	b.Run("joined", func(b *testing.B) {
		var out []byte
		for b.Loop() {
			out, _ = list().AppendWire(out[:0])
		}
	})
}
