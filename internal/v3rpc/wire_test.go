package v3rpc

import (
	"reflect"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/v3op"
	"cairn/internal/watch"
)

var (
	anyBytes  = rapid.SliceOfN(rapid.Byte(), 0, 300)
	anyNumber = rapid.OneOf(rapid.Int64Range(-2, 3), rapid.Int64())
)

func marshal(t *rapid.T, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The hand-written decoders read what the published messages write.
func TestRequestsAreThePublishedOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pr := &etcdserverpb.RangeRequest{
			Key: anyBytes.Draw(t, "key"), RangeEnd: anyBytes.Draw(t, "end"), Limit: anyNumber.Draw(t, "limit"),
			Revision: anyNumber.Draw(t, "revision"), SortOrder: etcdserverpb.RangeRequest_SortOrder(rapid.Int32Range(0, 4).Draw(t, "order")),
			SortTarget:   etcdserverpb.RangeRequest_SortTarget(rapid.Int32Range(0, 6).Draw(t, "target")),
			Serializable: rapid.Bool().Draw(t, "serializable"), KeysOnly: rapid.Bool().Draw(t, "keys only"), CountOnly: rapid.Bool().Draw(t, "count only"),
			MinModRevision: anyNumber.Draw(t, "min mod"), MaxModRevision: anyNumber.Draw(t, "max mod"),
			MinCreateRevision: anyNumber.Draw(t, "min create"), MaxCreateRevision: anyNumber.Draw(t, "max create"),
		}
		var got rangeRequest
		if err := got.UnmarshalWire(marshal(t, pr)); err != nil {
			t.Fatal(err)
		}
		want := *v3op.Range(pr)
		if len(want.Key) == 0 {
			want.Key = nil
		}
		if len(want.End) == 0 {
			want.End = nil
		}
		if !reflect.DeepEqual(want, got.RangeOp) || got.serializable != pr.Serializable {
			t.Fatalf("range: %+v, want %+v", got.RangeOp, want)
		}
		pp := &etcdserverpb.PutRequest{
			Key: anyBytes.Draw(t, "put key"), Value: anyBytes.Draw(t, "value"), Lease: anyNumber.Draw(t, "lease"),
			PrevKv: rapid.Bool().Draw(t, "prev"), IgnoreValue: rapid.Bool().Draw(t, "ignore value"), IgnoreLease: rapid.Bool().Draw(t, "ignore lease"),
		}
		var put putRequest
		if err := put.UnmarshalWire(marshal(t, pp)); err != nil {
			t.Fatal(err)
		}
		if string(put.Key) != string(pp.Key) || string(put.Value) != string(pp.Value) || int64(put.Lease) != pp.Lease ||
			put.PrevKV != pp.PrevKv || put.IgnoreValue != pp.IgnoreValue || put.IgnoreLease != pp.IgnoreLease {
			t.Fatalf("put: %+v, want %v", put.PutOp, pp)
		}
	})
}

func anyRecord(t *rapid.T) kv.Record {
	positive := rapid.Int64Range(1, 1<<62)
	return kv.Record{
		CreateRevision: positive.Draw(t, "create"), Mod: kv.Revision{Main: positive.Draw(t, "mod")},
		Version: positive.Draw(t, "version"), Lease: kv.LeaseID(anyNumber.Draw(t, "lease")), Value: anyBytes.Draw(t, "value"),
	}
}

// The published messages read what the hand-written encoders write.
func TestResponsesAreThePublishedOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := header{
			clusterID: rapid.Uint64().Draw(t, "cluster"), memberID: rapid.Uint64().Draw(t, "member"),
			revision: anyNumber.Draw(t, "revision"), term: rapid.Uint64().Draw(t, "term"),
		}
		list := rangeResponse{
			header: h, more: rapid.Bool().Draw(t, "more"), count: rapid.Int64Range(0, 1<<40).Draw(t, "count"),
			keysOnly: rapid.Bool().Draw(t, "keys only"),
		}
		want := &etcdserverpb.RangeResponse{Header: h.proto(), More: list.more, Count: list.count}
		for range rapid.IntRange(0, 4).Draw(t, "keys") {
			k := mvcc.KeyRecord{Key: anyBytes.Draw(t, "key"), Record: anyRecord(t)}
			list.Add(k.Key, &k.Record)
			if list.keysOnly {
				k.Value = nil
			}
			want.Kvs = append(want.Kvs, keyValue(&k))
		}
		b, err := list.AppendWire([]byte{})
		if err != nil {
			t.Fatal(err)
		}
		got := &etcdserverpb.RangeResponse{}
		if err := proto.Unmarshal(b, got); err != nil || !proto.Equal(normal(got), normal(want)) {
			t.Fatalf("list: %v, want %v: %v", got, want, err)
		}
		prev := &mvcc.KeyRecord{Key: anyBytes.Draw(t, "prev key"), Record: anyRecord(t)}
		if b, err = (&putResponse{header: h, prev: prev}).AppendWire(nil); err != nil {
			t.Fatal(err)
		}
		put := &etcdserverpb.PutResponse{}
		if err := proto.Unmarshal(b, put); err != nil || !proto.Equal(put.Header, h.proto()) ||
			string(put.PrevKv.Value) != string(prev.Value) || put.PrevKv.ModRevision != prev.Mod.Main {
			t.Fatalf("put: %v: %v", put, err)
		}
	})
}

// normal makes empty and missing bytes the same, as they are on the wire.
func normal(r *etcdserverpb.RangeResponse) *etcdserverpb.RangeResponse {
	for _, k := range r.Kvs {
		for _, b := range []*[]byte{&k.Key, &k.Value} {
			if len(*b) == 0 {
				*b = nil
			}
		}
	}
	return r
}

func FuzzRequests(f *testing.F) {
	b, err := proto.Marshal(&etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r rangeRequest
		own, published := r.UnmarshalWire(b), proto.Unmarshal(b, &etcdserverpb.RangeRequest{})
		if own != nil && published == nil {
			t.Errorf("refused bytes that the published message accepts: %v", own)
		}
		var p putRequest
		_ = p.UnmarshalWire(b)
		RunsOnReader(etcdserverpb.KV_Range_FullMethodName, b, false)
	})
}

func TestKeyValueWithoutLease(t *testing.T) {
	b := appendKeyValue(nil, 2, []byte("k"), &kv.Record{CreateRevision: 2, Mod: kv.Revision{Main: 3}, Version: 2}, false)
	got := &etcdserverpb.RangeResponse{}
	want := &etcdserverpb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: []byte("k"), CreateRevision: 2, ModRevision: 3, Version: 2}}}
	if err := proto.Unmarshal(b, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, want %v: %v", got, want, err)
	}
}

// TestRunsOnReader: a put runs on the goroutine that reads its connection when it is alone there,
// and the read of one key always.
func TestRunsOnReader(t *testing.T) {
	encoded := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	put := encoded(&etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	get := encoded(&etcdserverpb.RangeRequest{Key: []byte("k")})
	list := encoded(&etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")})
	for _, c := range []struct {
		method  string
		request []byte
		alone   bool
		want    bool
	}{
		{etcdserverpb.KV_Put_FullMethodName, put, true, true},
		{etcdserverpb.KV_Put_FullMethodName, put, false, false},
		{etcdserverpb.KV_Range_FullMethodName, get, true, true},
		{etcdserverpb.KV_Range_FullMethodName, get, false, true},
		{etcdserverpb.KV_Range_FullMethodName, list, true, false},
		{etcdserverpb.KV_Txn_FullMethodName, nil, true, false},
	} {
		if got := RunsOnReader(c.method, c.request, c.alone); got != c.want {
			t.Errorf("%s with a request of %d bytes, alone: %v: got %v, want %v", c.method, len(c.request), c.alone, got, c.want)
		}
	}
}

// TestEventIsCopiedOnce: the encoding of an event of a long value takes the memory of one copy, and
// is what protobuf decodes. (The race detector adds an allocation; a copy more would be two.)
func TestEventIsCopiedOnce(t *testing.T) {
	const value = 100_000
	for _, of := range []kv.Event{
		{Type: kv.EventPut, Key: []byte("k"), Record: kv.Record{Value: make([]byte, value), Version: 1, CreateRevision: 3, Mod: kv.Revision{Main: 3}}},
		{
			Type: kv.EventPut, Key: []byte("k"), Record: kv.Record{Value: []byte("v"), Version: 300, CreateRevision: 3, Mod: kv.Revision{Main: 1 << 40}, Lease: -1},
			Prev: kv.Record{Value: make([]byte, value), Version: 299, CreateRevision: 3, Mod: kv.Revision{Main: 4}},
		},
		{Type: kv.EventDelete, Key: []byte("k"), Record: kv.Record{Deleted: true, Mod: kv.Revision{Main: 5}}, Prev: kv.Record{Value: make([]byte, value), Version: 1, CreateRevision: 4, Mod: kv.Revision{Main: 4}}},
	} {
		e := watch.Event{Event: of}
		for _, prevKV := range []bool{false, true} {
			encoded := appendEvent(nil, &e, prevKV)
			if len(encoded) > value && cap(encoded) > value+value/4 {
				t.Errorf("an event of %d bytes has a buffer of %d", len(encoded), cap(encoded))
			}
			if n := testing.AllocsPerRun(10, func() { appendEvent(nil, &e, prevKV) }); n > 2 {
				t.Errorf("an event of %d bytes takes %v allocations, want at most 2", len(encoded), n)
			}
			var resp etcdserverpb.WatchResponse
			if err := proto.Unmarshal(encoded, &resp); err != nil || len(resp.Events) != 1 {
				t.Fatalf("%d events: %v", len(resp.Events), err)
			}
			got := resp.Events[0]
			if string(got.Kv.Key) != "k" || len(got.Kv.Value) != len(e.Record.Value) || got.Kv.ModRevision != e.Record.Mod.Main || got.Kv.Lease != int64(e.Record.Lease) ||
				(got.Type == mvccpb.Event_DELETE) != (e.Type == kv.EventDelete) || prevKV && len(got.PrevKv.GetValue()) != len(e.Prev.Value) || !prevKV && got.PrevKv != nil {
				t.Errorf("prevKV %t: %.300v", prevKV, got)
			}
		}
	}
}
