package clusterwatch

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cairn/internal/grpcclient"
)

// member is a Watch service of grpc-go that follows a script, which is called with the number of
// the call.
type member struct {
	pb.UnimplementedWatchServer
	calls  atomic.Int32
	script func(n int, c *served) error
}

// served is a call at the member.
type served struct {
	pb.Watch_WatchServer
}

func (m *member) Watch(s pb.Watch_WatchServer) error {
	return m.script(int(m.calls.Add(1)), &served{Watch_WatchServer: s})
}

// create receives a request for a watch.
func (s *served) create() *pb.WatchCreateRequest {
	r, err := s.Recv()
	if err != nil {
		return new(pb.WatchCreateRequest)
	}
	return r.GetCreateRequest()
}

func (s *served) created(id int64) {
	_ = s.Send(&pb.WatchResponse{Header: header(1), WatchId: id, Created: true})
}

func (s *served) events(id int64, fragment bool, revisions ...int64) {
	r := &pb.WatchResponse{Header: header(revisions[len(revisions)-1]), WatchId: id, Fragment: fragment}
	for _, n := range revisions {
		r.Events = append(r.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: n}})
	}
	_ = s.Send(r) // an error ends the script, too
}

func header(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }

// newClient returns a client of a member that follows a script.
func newClient(t *testing.T, script func(n int, c *served) error) (*Client, *member) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{script: script}
	server := grpc.NewServer()
	pb.RegisterWatchServer(server, m)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	c := grpcclient.New(grpcclient.Options{
		Endpoints: func() []string { return []string{l.Addr().String()} }, MaxSendBytes: 1 << 20, MaxRecvBytes: 1 << 20,
	})
	t.Cleanup(c.Close)
	return New(c), m
}

// recorder is a handler that records what it gets, as lines.
type recorder struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recorder) Events(_ *pb.ResponseHeader, events []*mvccpb.Event) {
	var revisions []string
	for _, e := range events {
		revisions = append(revisions, fmt.Sprint(e.Kv.ModRevision))
	}
	r.add("%s", strings.Join(revisions, " "))
}

func (r *recorder) Progress(h *pb.ResponseHeader) { r.add("progress %d", h.Revision) }

func (r *recorder) Ended(resp *pb.WatchResponse, err error) {
	r.add("ended %q %d %v", resp.GetCancelReason(), resp.GetCompactRevision(), status.Convert(err).Message())
}

// await waits until what was recorded is the lines of want, joined by "; ".
func (r *recorder) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		got := strings.Join(r.lines, "; ")
		r.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-r.more:
		case <-late:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

var unavailable = status.Error(codes.Unavailable, "the member stops")

// TestResume has calls that break: the watch continues after the last revision of which all events
// were received, and gets each event once.
func TestResume(t *testing.T) {
	starts := make(chan int64, 8)
	c, _ := newClient(t, func(n int, s *served) error {
		starts <- s.create().StartRevision
		s.created(0)
		switch n {
		case 1:
			s.events(0, false, 5)
			s.events(0, false, 6, 6, 7)
			s.events(0, true, 8, 8) // and the rest of revision 8 is missing
			return unavailable
		case 2:
			s.events(0, true, 8, 8)
			s.events(0, true, 8)
			s.events(0, false, 9)
			_ = s.Send(&pb.WatchResponse{Header: header(20)})
			return status.Error(codes.Internal, "broken")
		case 3:
			return nil // without an error
		}
		s.events(0, false, 21)
		<-s.Context().Done()
		return nil
	})
	r := newRecorder()
	w := c.Watch(t.Context(), "", "k", "", 5, false, r)
	defer w.Cancel()
	r.await(t, "5; 6 6 7; 8 8 8 9; progress 20; 21")
	for i, want := range []int64{5, 8, 21, 21} {
		if got := <-starts; got != want {
			t.Errorf("call %d starts at %d, want %d", i+1, got, want)
		}
	}
}

// TestEnd has the reasons for which a watch ends, and those for which it continues.
func TestEnd(t *testing.T) {
	for name, c := range map[string]struct {
		script func(s *served) error
		want   string
	}{
		"refused": {func(s *served) error {
			_ = s.Send(&pb.WatchResponse{Header: header(1), WatchId: -1, Created: true, Canceled: true, CancelReason: "etcdserver: permission denied"})
			return nil
		}, `ended "etcdserver: permission denied" 0 `},
		"compacted": {func(s *served) error {
			s.created(7)
			_ = s.Send(&pb.WatchResponse{Header: header(9), WatchId: 7, Canceled: true, CompactRevision: 8})
			return nil
		}, `ended "" 8 `},
		"no leader": {func(s *served) error {
			s.created(7)
			return rpctypes.ErrGRPCNoLeader
		}, `ended "" 0 etcdserver: no leader`},
		"refused call": {func(*served) error {
			return status.Error(codes.Unimplemented, "unknown service")
		}, `ended "" 0 unknown service`},
		"too large": {func(s *served) error {
			s.created(7)
			_ = s.Send(&pb.WatchResponse{Header: header(9), WatchId: 7, CancelReason: strings.Repeat("x", 2<<20)})
			<-s.Context().Done()
			return nil
		}, `ended "" 0 grpc: received message larger than max (2097163 vs. 1048576)`},
	} {
		t.Run(name, func(t *testing.T) {
			client, m := newClient(t, func(_ int, s *served) error {
				s.create()
				err := c.script(s)
				if err == nil {
					<-s.Context().Done()
				}
				return err
			})
			r := newRecorder()
			w := client.Watch(t.Context(), "", "k", "", 5, false, r)
			r.await(t, c.want)
			w.Cancel() // without an effect
			// the name can be used again, by another call
			w = client.Watch(t.Context(), "", "k", "", 5, false, r)
			defer w.Cancel()
			r.await(t, c.want+"; "+c.want)
			if n := m.calls.Load(); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
		})
	}
}

// TestOrderOfCreation has two watches, of which the first is canceled before it is created, and one
// that is refused: each response belongs to the first request without one.
func TestOrderOfCreation(t *testing.T) {
	requested, canceled := make(chan struct{}), make(chan int64, 1)
	proceed := make(chan struct{})
	c, _ := newClient(t, func(_ int, s *served) error {
		for range 3 {
			s.create()
		}
		close(requested)
		<-proceed
		s.created(4)
		_ = s.Send(&pb.WatchResponse{Header: header(1), WatchId: -1, Created: true, Canceled: true, CancelReason: "no"})
		s.created(2)
		r, err := s.Recv()
		if err != nil {
			return err
		}
		canceled <- r.GetCancelRequest().GetWatchId()
		s.events(4, false, 5) // on its way already
		s.events(2, false, 6)
		_ = s.Send(&pb.WatchResponse{Header: header(9), WatchId: -1})
		<-s.Context().Done()
		return nil
	})
	first, refused, second := newRecorder(), newRecorder(), newRecorder()
	w := c.Watch(t.Context(), "", "a", "", 1, false, first)
	// watches of a call that has not begun are requested in any order
	await(t, func() bool { w.feed.mu.Lock(); defer w.feed.mu.Unlock(); return w.feed.call != nil })
	c.Watch(t.Context(), "", "b", "", 1, false, refused)
	last := c.Watch(t.Context(), "", "c", "", 1, false, second)
	<-requested
	w.Cancel()
	close(proceed)
	if id := <-canceled; id != 4 {
		t.Errorf("watch %d was canceled, want 4", id)
	}
	second.await(t, "6; progress 9")
	refused.await(t, `ended "no" 0 `)
	first.await(t, "")
	last.Cancel()
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the condition has not come true")
		}
	}
}

// TestProgressRequest holds that a request for the positions is made again when the call has broken
// before the response.
func TestProgressRequest(t *testing.T) {
	c, _ := newClient(t, func(n int, s *served) error {
		s.create()
		s.created(0)
		r, err := s.Recv()
		if err != nil || r.GetProgressRequest() == nil {
			return err
		}
		if n == 1 {
			return unavailable
		}
		_ = s.Send(&pb.WatchResponse{Header: header(30), WatchId: -1})
		<-s.Context().Done()
		return nil
	})
	r := newRecorder()
	w := c.Watch(t.Context(), "", "k", "", 5, false, r)
	defer w.Cancel()
	c.Progress("")
	r.await(t, "progress 30")
}

// TestFeeds holds that watches of a name share a call with its metadata, and that the last one ends
// it.
func TestFeeds(t *testing.T) {
	tokens, ended := make(chan string, 8), make(chan string, 8)
	c, m := newClient(t, func(_ int, s *served) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		token := fmt.Sprint(md["token"])
		tokens <- token
		<-s.Context().Done()
		ended <- token
		return nil
	})
	watch := func(token string) *Watch {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel() // which does not end the watch
		return c.Watch(metadata.AppendToOutgoingContext(ctx, "token", token), token, "k", "", 1, false, newRecorder())
	}
	a, b, other := watch("one"), watch("one"), watch("two")
	got := map[string]bool{<-tokens: true, <-tokens: true}
	if !got["[one]"] || !got["[two]"] || m.calls.Load() != 2 {
		t.Errorf("%d calls with %v", m.calls.Load(), got)
	}
	other.Cancel()
	if token := <-ended; token != "[two]" {
		t.Errorf("the call of %s has ended", token)
	}
	a.Cancel()
	b.Cancel()
	if token := <-ended; token != "[one]" {
		t.Errorf("the call of %s has ended", token)
	}
	await(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.feeds) == 0 })
}
