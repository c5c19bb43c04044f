package goclient

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"cairn/test/harness"
)

// call is a Watch call without the client library, which hides half of the responses.
type call struct {
	*fixture
	stream  etcdserverpb.Watch_WatchClient
	answers chan *etcdserverpb.WatchResponse
	base    int64 // other revisions are shown relative to it
}

func watchCall(f *fixture) *call {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	stream, err := etcdserverpb.NewWatchClient(f.ActiveConnection()).Watch(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	c := &call{fixture: f, stream: stream, answers: make(chan *etcdserverpb.WatchResponse), base: f.revision()}
	f.t.Cleanup(cancel)
	go func() {
		defer close(c.answers)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			c.answers <- r
		}
	}()
	return c
}

// revision returns the server's.
func (f *fixture) revision() int64 {
	f.t.Helper()
	resp, err := f.Get(f.ctx, "no such key")
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.Header.Revision
}

func (c *call) create(req *etcdserverpb.WatchCreateRequest) {
	c.t.Helper()
	c.send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: req}})
}

func (c *call) cancel(id int64) {
	c.t.Helper()
	c.send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CancelRequest{
		CancelRequest: &etcdserverpb.WatchCancelRequest{WatchId: id},
	}})
}

func (c *call) progress() {
	c.t.Helper()
	c.send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
		ProgressRequest: &etcdserverpb.WatchProgressRequest{},
	}})
}

func (c *call) send(req *etcdserverpb.WatchRequest) {
	c.t.Helper()
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

// expect receives as many responses as there are lines and compares them.
func (c *call) expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		select {
		case r, ok := <-c.answers:
			if !ok {
				c.t.Fatalf("the stream ended, want %s", want)
			}
			if got := c.show(r); got != want {
				c.t.Errorf("got  %s\nwant %s", got, want)
			}
		case <-time.After(time.Minute):
			c.t.Fatalf("no response, want %s", want)
		}
	}
}

// expectAnyOrder is expect for responses about different watches.
func (c *call) expectAnyOrder(lines ...string) {
	c.t.Helper()
	var got []string
	for range lines {
		select {
		case r, ok := <-c.answers:
			if !ok {
				c.t.Fatalf("the stream ended after %q, want %q", got, lines)
			}
			got = append(got, c.show(r))
		case <-time.After(time.Minute):
			c.t.Fatalf("no response after %q, want %q", got, lines)
		}
	}
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		c.t.Errorf("got  %q\nwant %q", got, lines)
	}
}

// show prints a response.
func (c *call) show(r *etcdserverpb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d @%+d", r.WatchId, r.Header.Revision-c.base)
	if r.Created {
		b.WriteString(" created")
	}
	if r.Canceled {
		b.WriteString(" canceled")
	}
	if r.CompactRevision != 0 {
		fmt.Fprintf(&b, " compacted%+d", r.CompactRevision-c.base)
	}
	if r.CancelReason != "" {
		fmt.Fprintf(&b, " %q", r.CancelReason)
	}
	if r.Fragment {
		b.WriteString(" fragment")
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, " %s{%s}", e.Type, c.showKey(e.Kv))
		if e.PrevKv != nil {
			fmt.Fprintf(&b, "<-{%s}", c.showKey(e.PrevKv))
		}
	}
	return b.String()
}

// showKey prints a key with its modification and creation revisions, its version and value.
func (c *call) showKey(kv *mvccpb.KeyValue) string {
	value := string(kv.Value)
	if len(value) > 10 {
		value = fmt.Sprintf("%d bytes", len(value))
	}
	s := fmt.Sprintf("%s %+d", kv.Key, kv.ModRevision-c.base)
	if kv.CreateRevision != 0 {
		s += fmt.Sprintf(" c%+d", kv.CreateRevision-c.base)
	}
	if kv.Version != 0 {
		s += fmt.Sprintf(" v%d", kv.Version)
	}
	if value != "" {
		s += " " + value
	}
	return s
}

func (f *fixture) delete(key string) {
	f.t.Helper()
	if _, err := f.Delete(f.ctx, key); err != nil {
		f.t.Fatal(err)
	}
}

// TestWatchWire shows the responses to every kind of request on a Watch stream.
func TestWatchWire(t *testing.T) {
	f := start(t)
	f.put("before", "1")
	c := watchCall(f)
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a")})
	c.expect("0 @+0 created")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("c"), PrevKv: true})
	c.expect("1 @+0 created")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("n"), WatchId: 1})
	c.expect(`-1 @+0 created canceled "mvcc: duplicate watch ID provided on the WatchStream"`)
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("n"), WatchId: 7})
	c.expect("7 @+0 created")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("c"), RangeEnd: []byte("a")})
	c.expect(`-1 @+0 created canceled "mvcc: watcher range is empty"`)
	c.cancel(99)
	c.cancel(7)
	c.expect("7 @+0 canceled")
	f.put("b", "1")
	c.expect("1 @+1 PUT{b +1 c+1 v1 1}")
	f.put("b", "2")
	c.expect("1 @+2 PUT{b +2 c+1 v2 2}<-{b +1 c+1 v1 1}")
	f.delete("b")
	c.expect("1 @+3 DELETE{b +3}<-{b +2 c+1 v2 2}")
	c.cancel(1)
	c.expect("1 @+3 canceled")
	f.put("a", "3")
	c.expect("0 @+4 PUT{a +4 c+4 v1 3}")
	c.progress()
	c.expect("-1 @+4")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("b"), StartRevision: c.base + 1, Filters: []etcdserverpb.WatchCreateRequest_FilterType{etcdserverpb.WatchCreateRequest_NOPUT}})
	c.expect("2 @+4 created", "2 @+4 DELETE{b +3}")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: c.base + 1, Filters: []etcdserverpb.WatchCreateRequest_FilterType{etcdserverpb.WatchCreateRequest_NODELETE}})
	c.expect("3 @+4 created", "3 @+4 PUT{b +1 c+1 v1 1} PUT{b +2 c+1 v2 2} PUT{a +4 c+4 v1 3}")
	if _, err := f.Compact(f.ctx, c.base+3); err != nil {
		t.Fatal(err)
	}
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("z"), StartRevision: c.base + 2})
	c.expect("4 @+4 created")
	if r := <-c.answers; r.WatchId != 4 || !r.Canceled || r.CompactRevision != c.base+3 || len(r.Events) != 0 {
		t.Errorf("compacted: %s", c.show(r))
	}
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("b"), StartRevision: c.base + 3})
	c.expect("5 @+4 created")
	if harness.Reference(t) == "" { // etcd 3.4 has compacted the tombstone away
		c.expect("5 @+4 DELETE{b +3}")
	}
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("f"), StartRevision: c.base + 6})
	c.expect("6 @+4 created")
	f.put("f", "5")
	f.put("f", "6")
	c.expectAnyOrder("3 @+5 PUT{f +5 c+5 v1 5}", "3 @+6 PUT{f +6 c+5 v2 6}", "6 @+6 PUT{f +6 c+5 v2 6}")
	c.create(&etcdserverpb.WatchCreateRequest{})
	c.expect("7 @+6 created")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("x"), RangeEnd: []byte("x")})
	c.expect(`-1 @+6 created canceled "mvcc: watcher range is empty"`)
	c.cancel(7)
	c.expect("7 @+6 canceled")
	c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("y")})
	c.expect("8 @+6 created")
	if harness.Reference(t) == "" {
		c.create(&etcdserverpb.WatchCreateRequest{Key: []byte("y"), StartRevision: -1})
		c.expect(`-1 @+6 created canceled "etcdserver: mvcc: required revision has been compacted"`)
	}
}

// fragmentRequest watches the keys below f/.
func fragmentRequest(rev int64, fragment bool) *etcdserverpb.WatchCreateRequest {
	return &etcdserverpb.WatchCreateRequest{Key: []byte("f/"), RangeEnd: []byte("f0"), StartRevision: rev, PrevKv: true, Fragment: fragment}
}
