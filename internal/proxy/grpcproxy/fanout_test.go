package grpcproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// client is the sending side of a fake stream: it records what is sent.
type client struct {
	mu    sync.Mutex
	sent  []string      // one line for each response
	block chan struct{} // if not nil, SendMore waits for it
}

func (c *client) SendMsg(m any) error { return c.SendMore(m) }

func (c *client) Flush() {}

func (c *client) SendMore(m any) error {
	if c.block != nil {
		<-c.block
	}
	r := new(pb.WatchResponse)
	switch m := m.(type) {
	case *message:
		b, _ := m.AppendWire(nil)
		if err := proto.Unmarshal(b, r); err != nil {
			return err
		}
	case *pb.WatchResponse:
		r = m
	}
	line := fmt.Sprintf("watch %d:", r.WatchId)
	for _, e := range r.Events {
		line += fmt.Sprintf(" %d", e.Kv.ModRevision)
	}
	if r.Canceled {
		line += " canceled"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, line)
	return nil
}

// take returns what was sent since the last call, sorted.
func (c *client) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.sent)
	text := strings.Join(slices.Compact(c.sent), "; ")
	c.sent = nil
	return text
}

// call is a Watch call of a client that sends one request, which is refused, and then breaks.
type call struct {
	grpc.ServerStream
	client

	ctx     context.Context
	sent    bool
	sending chan struct{} // closed when the response is being sent
}

func (c *call) Context() context.Context { return c.ctx }

func (c *call) SendMsg(m any) error { return c.SendMore(m) }

func (c *call) SendMore(m any) error {
	close(c.sending)
	return c.client.SendMore(m)
}

func (c *call) RecvMsg(m any) error {
	if c.sent {
		<-c.sending
		return errors.New("broken")
	}
	c.sent = true
	r := &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}
	m.(*pb.WatchRequest).RequestUnion = &pb.WatchRequest_CreateRequest{CreateRequest: r}
	return nil
}

// TestEndWhileSending holds that a Watch call does not return while a response is being sent.
func TestEndWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Proxy{Metrics: newMetrics()}
		p.watches = newWatches(t.Context(), p)
		c := &call{client: client{block: make(chan struct{})}, ctx: t.Context(), sending: make(chan struct{})}
		returned := make(chan error, 1)
		go func() {
			returned <- (&watchServer{p: p}).Watch(&grpc.GenericServerStream[pb.WatchRequest, pb.WatchResponse]{ServerStream: c})
		}()
		synctest.Wait()
		select {
		case err := <-returned:
			t.Fatalf("the call returned %v while a response was being sent", err)
		default:
		}
		close(c.block)
		if err := <-returned; err == nil || err.Error() != "broken" {
			t.Errorf("the call returned %v", err)
		}
	})
}

// fixture is a group at a position, without a watch of the cluster.
type fixture struct {
	w *watches
	g *group
}

func newFixture(t *testing.T, position int64) *fixture {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fixture{w: newWatches(ctx, &Proxy{Metrics: newMetrics()})}
	t.Cleanup(cancel)
	s := f.w.spanOf(spanKey{key: "k"})
	f.g = &group{s: s, ctx: ctx, cancel: cancel, position: position, audiences: map[*stream]*audience{}}
	s.groups = []*group{f.g}
	return f
}

// stream adds a stream with watchers that start at revisions.
func (f *fixture) stream(t *testing.T, out *client, starts ...int64) *stream {
	st := &stream{w: f.w, ctx: t.Context(), out: out, done: make(chan struct{}), watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1)}
	go st.send()
	t.Cleanup(func() { st.fail(nil) })
	for i, start := range starts {
		wr := &watcher{stream: st, key: f.g.s.key, next: start}
		st.register(wr, int64(i+1))
		f.w.add(wr.key, wr)
	}
	return st
}

// put reports an event of the cluster.
func (f *fixture) put(revision int64) {
	f.g.Events(&pb.ResponseHeader{Revision: revision}, []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: revision}}})
	synctest.Wait()
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestPause holds that watchers of a large group get an event after a rest at once, and those that
// come in the pause after it together.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 10)
		var out client
		f.stream(t, &out, slices.Repeat([]int64{10}, 1000)...)
		f.put(10)
		if got := out.take(); strings.Count(got, ": 10") != 1000 {
			t.Errorf("the first event was sent %d times", strings.Count(got, ": 10"))
		}
		f.put(11)
		f.put(12)
		want(t, "in the pause", out.take(), "")
		time.Sleep(paceOf(1000))
		synctest.Wait()
		if got := out.take(); strings.Count(got, ": 11 12") != 1000 {
			t.Errorf("both events were sent %d times: %.100s", strings.Count(got, ": 11 12"), got)
		}
		time.Sleep(paceOf(1000))
		f.put(13)
		if got := out.take(); strings.Count(got, ": 13") != 1000 {
			t.Errorf("an event after the pause was sent %d times", strings.Count(got, ": 13"))
		}
	})
}

// TestSmallGroup holds that watchers of a small group get each event at once.
func TestSmallGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 10)
		var out client
		f.stream(t, &out, 10, 10)
		for revision := int64(10); revision < 13; revision++ {
			f.put(revision)
			want(t, "event", out.take(), fmt.Sprintf("watch 1: %d; watch 2: %d", revision, revision))
		}
	})
}

// TestStarts has watchers with starts after the group's position.
func TestStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 10)
		var out client
		f.stream(t, &out, 10, 11, 13)
		f.put(10)
		want(t, "10", out.take(), "watch 1: 10")
		f.put(11)
		want(t, "11", out.take(), "watch 1: 11; watch 2: 11")
		f.put(13)
		want(t, "13", out.take(), "watch 1: 13; watch 2: 13; watch 3: 13")
	})
}

// TestJoinedBatches holds that a client which reads slowly gets the events that have queued up in
// one response for each watcher, and none after it has canceled a watch.
func TestJoinedBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 10)
		out := client{block: make(chan struct{})}
		st := f.stream(t, &out, 10, 10, 10)
		for revision := int64(10); revision < 15; revision++ {
			f.put(revision)
		}
		st.cancelWatch(2)
		f.put(15)
		close(out.block)
		synctest.Wait()
		want(t, "events", out.take(),
			"watch 1: 10; watch 1: 11 12 13 14; watch 1: 15; watch 2: canceled; watch 3: 10; watch 3: 11 12 13 14; watch 3: 15")
		if st.bytes != 0 {
			t.Errorf("%d bytes are counted as queued", st.bytes)
		}
	})
}

// TestEndOfStream holds that the watchers of a stream that has ended leave their group, and the
// last ones end it.
func TestEndOfStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 10)
		var out, other client
		first, second := f.stream(t, &out, 10, 10, 20), f.stream(t, &other, 10)
		first.end()
		f.put(10)
		want(t, "ended", out.take(), "")
		want(t, "other", other.take(), "watch 1: 10")
		if f.g.size != 1 || len(f.g.audiences) != 1 {
			t.Errorf("the group has %d watchers of %d streams", f.g.size, len(f.g.audiences))
		}
		second.end()
		if f.g.ctx.Err() == nil || len(f.w.spans) != 0 {
			t.Errorf("the group without watchers continues: %v, %d spans", f.g.ctx.Err(), len(f.w.spans))
		}
	})
}
