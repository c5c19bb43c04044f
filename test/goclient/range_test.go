package goclient

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"

	"cairn/test/harness"
)

func TestGetOfOneKey(t *testing.T) {
	f := start(t)
	revs := f.put("k", "one", "k", "two")
	resp := f.get("k")
	if len(resp.Kvs) != 1 || resp.Count != 1 || resp.More {
		t.Fatalf("got %v, want one key", resp)
	}
	kv := resp.Kvs[0]
	if string(kv.Value) != "two" || kv.CreateRevision != revs[0] || kv.ModRevision != revs[1] || kv.Version != 2 || kv.Lease != 0 {
		t.Errorf("got %v, want value two, create %d, mod %d, version 2", kv, revs[0], revs[1])
	}
	h := resp.Header
	if h.Revision != revs[1] || h.ClusterId == 0 || h.MemberId == 0 || h.RaftTerm == 0 {
		t.Errorf("header is %v, want revision %d and IDs and a term", h, revs[1])
	}
	if resp := f.get("absent"); len(resp.Kvs) != 0 || resp.Count != 0 || resp.Header.Revision != revs[1] {
		t.Errorf("an absent key: %v", resp)
	}
	if resp := f.get("k", clientv3.WithSerializable()); string(resp.Kvs[0].Value) != "two" {
		t.Errorf("a serializable read right after the write: %v", resp)
	}
}

// TestGetOptions writes keys whose orders by name, value, creation and modification all differ, and
// reads them in every way.
func TestGetOptions(t *testing.T) {
	f := start(t)
	r := f.put("a", "4", "c", "3", "b", "5", "ab", "1", "b/1", "2", "c", "0")
	// key:      a    c    b    ab   b/1
	// create:   r0   r1   r2   r3   r4
	// mod:      r0   r5   r2   r3   r4
	// version:  1    2    1    1    1
	// value:    4    0    5    1    2
	sorted := func(by clientv3.SortTarget, order clientv3.SortOrder) clientv3.OpOption {
		return clientv3.WithSort(by, order)
	}
	all := clientv3.WithFromKey()
	for name, c := range map[string]struct {
		key     string
		options []clientv3.OpOption
		want    []string
		count   int64
		more    bool
	}{
		"from key":                  {"b", []clientv3.OpOption{all}, []string{"b", "b/1", "c"}, 3, false},
		"every key":                 {"\x00", []clientv3.OpOption{all}, []string{"a", "ab", "b", "b/1", "c"}, 5, false},
		"prefix":                    {"a", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"a", "ab"}, 2, false},
		"prefix of all":             {"", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"a", "ab", "b", "b/1", "c"}, 5, false},
		"range":                     {"ab", []clientv3.OpOption{clientv3.WithRange("c")}, []string{"ab", "b", "b/1"}, 3, false},
		"empty range":               {"c", []clientv3.OpOption{clientv3.WithRange("b")}, []string{}, 0, false},
		"limit":                     {"\x00", []clientv3.OpOption{all, clientv3.WithLimit(2)}, []string{"a", "ab"}, 5, true},
		"limit that is enough":      {"\x00", []clientv3.OpOption{all, clientv3.WithLimit(5)}, []string{"a", "ab", "b", "b/1", "c"}, 5, false},
		"descending by key":         {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByKey, clientv3.SortDescend)}, []string{"c", "b/1", "b", "ab", "a"}, 5, false},
		"ascending by value":        {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByValue, clientv3.SortAscend)}, []string{"c", "ab", "b/1", "a", "b"}, 5, false},
		"descending by value":       {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByValue, clientv3.SortDescend)}, []string{"b", "a", "b/1", "ab", "c"}, 5, false},
		"ascending by creation":     {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByCreateRevision, clientv3.SortAscend)}, []string{"a", "c", "b", "ab", "b/1"}, 5, false},
		"descending by creation":    {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByCreateRevision, clientv3.SortDescend)}, []string{"b/1", "ab", "b", "c", "a"}, 5, false},
		"ascending by change":       {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByModRevision, clientv3.SortAscend)}, []string{"a", "b", "ab", "b/1", "c"}, 5, false},
		"descending by change":      {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByModRevision, clientv3.SortDescend)}, []string{"c", "b/1", "ab", "b", "a"}, 5, false},
		"by a target without order": {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByValue, clientv3.SortNone)}, []string{"c", "ab", "b/1", "a", "b"}, 5, false},
		"highest version":           {"\x00", []clientv3.OpOption{all, sorted(clientv3.SortByVersion, clientv3.SortDescend), clientv3.WithLimit(1)}, []string{"c"}, 5, true},
		"last created":              {"", clientv3.WithLastCreate(), []string{"b/1"}, 5, true},
		"first by revision":         {"", clientv3.WithFirstRev(), []string{"a"}, 5, true},
		"created from":              {"\x00", []clientv3.OpOption{all, clientv3.WithMinCreateRev(r[3])}, []string{"ab", "b/1"}, 5, false},
		"created up to":             {"\x00", []clientv3.OpOption{all, clientv3.WithMaxCreateRev(r[1])}, []string{"a", "c"}, 5, false},
		"changed from":              {"\x00", []clientv3.OpOption{all, clientv3.WithMinModRev(r[4])}, []string{"b/1", "c"}, 5, false},
		"changed up to":             {"\x00", []clientv3.OpOption{all, clientv3.WithMaxModRev(r[2])}, []string{"a", "b"}, 5, false},
		"changed up to, limited":    {"\x00", []clientv3.OpOption{all, clientv3.WithMaxModRev(r[2]), clientv3.WithLimit(1)}, []string{"a"}, 5, true},
		"at an older revision":      {"\x00", []clientv3.OpOption{all, clientv3.WithRev(r[2])}, []string{"a", "b", "c"}, 3, false},
		"older, limited, counting":  {"\x00", []clientv3.OpOption{all, clientv3.WithRev(r[3]), clientv3.WithLimit(1)}, []string{"a"}, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := f.Get(f.ctx, c.key, c.options...)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys(resp); !slices.Equal(got, c.want) || resp.Count != c.count || resp.More != c.more {
				t.Errorf("got %v, count %d, more %t; want %v, count %d, more %t", got, resp.Count, resp.More, c.want, c.count, c.more)
			}
			if resp.Header.Revision != r[5] {
				t.Errorf("header revision is %d, want the current one, %d", resp.Header.Revision, r[5])
			}
		})
	}
	if kv := f.get("c", clientv3.WithRev(r[4])).Kvs[0]; string(kv.Value) != "3" || kv.ModRevision != r[1] || kv.Version != 1 {
		t.Errorf("c before its second put is %v", kv)
	}
	if resp := f.get("\x00", all, clientv3.WithKeysOnly()); len(resp.Kvs) != 5 || slices.ContainsFunc(resp.Kvs, func(kv *keyValue) bool { return len(kv.Value) > 0 || kv.ModRevision == 0 }) {
		t.Errorf("keys only: %v", resp)
	}
	if resp := f.get("\x00", all, clientv3.WithCountOnly()); len(resp.Kvs) != 0 || resp.Count != 5 || resp.More {
		t.Errorf("count only: %v", resp)
	}
	if resp := f.get("\x00", all, clientv3.WithCountOnly(), clientv3.WithRev(r[2])); resp.Count != 3 {
		t.Errorf("count at an older revision is %d, want 3", resp.Count)
	}
}

// TestPages reads a long range page by page at one revision while it changes, as Kubernetes does.
func TestPages(t *testing.T) {
	f := start(t)
	want := []string{}
	for i := range 25 {
		want = append(want, "page/"+string(rune('a'+i)))
		f.put(want[i], "x")
	}
	from, got, at := "page/", []string{}, int64(0)
	for n := 0; ; n++ {
		resp := f.get(from, clientv3.WithRange(clientv3.GetPrefixRangeEnd("page/")), clientv3.WithLimit(10), clientv3.WithRev(at))
		if at == 0 {
			at = resp.Header.Revision
		}
		got = append(got, keys(resp)...)
		if left := int64(25 - 10*n); resp.Count != left || resp.More != (left > 10) {
			t.Errorf("page %d: count %d, more %t; want %d, %t", n, resp.Count, resp.More, left, left > 10)
		}
		if !resp.More {
			break
		}
		from = got[len(got)-1] + "\x00"
		f.put("page/zz"+from, "later", want[n], "changed")
		if _, err := f.Delete(f.ctx, want[20+n]); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages gave %v, want %v", got, want)
	}
}

// TestLongLists reads lists of some megabytes, several at a time, with values of every length.
func TestLongLists(t *testing.T) {
	f := start(t)
	text := strings.Repeat("0123456789abcdef", 1<<16)
	want := map[string]string{}
	for i := range 120 {
		k, v := fmt.Sprintf("k%03d", i), text[i%16:i%16+i*i*7]
		if i == 60 {
			v = text[:1_000_000]
		}
		want[k] = v
		f.put(k, v)
	}
	check := func(resp *clientv3.GetResponse, err error, n int, keysOnly bool) {
		if err != nil || len(resp.Kvs) != n || resp.Count != int64(len(want)) || resp.More != (n < len(want)) {
			t.Errorf("error %v, or not %d of %d keys", err, n, len(want))
			return
		}
		for i, k := range resp.Kvs {
			if v := want[string(k.Key)]; string(k.Key) != fmt.Sprintf("k%03d", i) || string(k.Value) != v && !keysOnly || keysOnly && len(k.Value) > 0 {
				t.Errorf("key %d is %s with %d bytes, want %d", i, k.Key, len(k.Value), len(v))
			}
		}
	}
	for range 3 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				resp, err := f.Get(f.ctx, "k", clientv3.WithPrefix())
				check(resp, err, len(want), false)
			})
			all.Go(func() {
				resp, err := f.Get(f.ctx, "k", clientv3.WithPrefix(), clientv3.WithLimit(100))
				check(resp, err, 100, false)
			})
			all.Go(func() {
				resp, err := f.Get(f.ctx, "k", clientv3.WithPrefix(), clientv3.WithKeysOnly())
				check(resp, err, len(want), true)
			})
		}
		all.Wait()
	}
	// A client that compresses its request, and accepts a compressed response.
	raw, err := etcdserverpb.NewKVClient(f.ActiveConnection()).Range(f.ctx,
		&etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, grpc.UseCompressor(gzip.Name), grpc.MaxCallRecvMsgSize(1<<30))
	check((*clientv3.GetResponse)(raw), err, len(want), false)
}

// TestGetStream reads the same range in chunks, and expects their sum to equal the response of Get.
func TestGetStream(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has no RangeStream, which was added in 3.7")
	}
	f := start(t)
	value := strings.Repeat("v", 1000)
	for i := range 3000 {
		f.put(fmt.Sprintf("k%05d", i), value)
	}
	for name, options := range map[string][]clientv3.OpOption{
		"all":      {clientv3.WithPrefix()},
		"limited":  {clientv3.WithPrefix(), clientv3.WithLimit(1234)},
		"older":    {clientv3.WithPrefix(), clientv3.WithRev(1000)},
		"nothing":  {clientv3.WithRange("a")},
		"one key":  {},
		"from key": {clientv3.WithFromKey(), clientv3.WithKeysOnly()},
		"sorted":   {clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)},
	} {
		stream, err := f.GetStream(f.ctx, "k", options...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := clientv3.GetStreamToGetResponse(stream)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := f.get("k", options...)
		if !proto.Equal((*etcdserverpb.RangeResponse)(got), (*etcdserverpb.RangeResponse)(want)) {
			t.Errorf("%s: the stream has %d keys, count %d, more %t, header %v; Get %d, %d, %t, %v", name,
				len(got.Kvs), got.Count, got.More, got.Header, len(want.Kvs), want.Count, want.More, want.Header)
		}
	}
	stream, err := f.GetStream(f.ctx, "k", clientv3.WithRev(1<<40))
	if err == nil {
		_, err = clientv3.GetStreamToGetResponse(stream)
	}
	f.wantError("a stream in the future", err, rpctypes.ErrFutureRev)
}

func TestGetErrors(t *testing.T) {
	f := start(t)
	r := f.put("k", "1", "k", "2", "k", "3")
	_, err := f.Get(f.ctx, "")
	f.wantError("get of an empty key", err, rpctypes.ErrEmptyKey)
	_, err = f.Get(f.ctx, "k", clientv3.WithRev(r[2]+1))
	f.wantError("get in the future", err, rpctypes.ErrFutureRev)
	if _, err = f.Compact(f.ctx, r[1]); err != nil {
		t.Fatal(err)
	}
	_, err = f.Get(f.ctx, "k", clientv3.WithRev(r[0]))
	f.wantError("get before the compaction", err, rpctypes.ErrCompacted)
	if kv := f.get("k", clientv3.WithRev(r[1])).Kvs[0]; string(kv.Value) != "2" {
		t.Errorf("get at the compacted revision is %v, want value 2", kv)
	}
}
