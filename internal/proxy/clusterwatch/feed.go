package clusterwatch

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/internal/grpcclient"
)

// The pause before a call is made again, if the last one has not created a watch.
const (
	pauseMin = 10 * time.Millisecond
	pauseMax = 500 * time.Millisecond
)

// feed is a Watch call, which is made again when it has broken, and the watches on it.
type feed struct {
	c    *Client
	name string
	ctx  context.Context // of the feed, with its metadata
	stop context.CancelFunc

	mu      sync.Mutex // guards the fields below, and the watches
	closed  bool       // it has no watches, and gets no more
	watches map[*Watch]struct{}
	call    *call // nil while there is none
	pause   time.Duration
	// progress was requested, and has not been reported
	progress bool
}

// call is one Watch call at a member.
type call struct {
	f *feed

	// guarded by feed.mu
	stream   *grpcclient.Stream
	over     bool
	creating []*Watch // requested and not created yet, in the order of the requests
	byID     map[int64]*Watch
}

func newFeed(ctx context.Context, c *Client, name string) *feed {
	f := &feed{c: c, name: name, watches: map[*Watch]struct{}{}}
	f.ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	go f.connect()
	return f
}

// connect makes a call, at once or after the pause. It returns when there is one.
func (f *feed) connect() {
	for {
		f.mu.Lock()
		pause := f.pause
		f.pause = min(max(2*pause, pauseMin), pauseMax)
		f.mu.Unlock()
		if pause > 0 {
			select {
			case <-f.ctx.Done():
			case <-time.After(pause):
			}
		}
		c := &call{f: f, byID: map[int64]*Watch{}}
		stream, err := f.c.calls.Open(f.ctx, pb.Watch_Watch_FullMethodName, c)
		if f.ctx.Err() != nil {
			if err == nil {
				stream.Close()
			}
			return
		}
		if err == nil && f.begin(c, stream) {
			return
		}
	}
}

// begin requests all watches on a new call. It reports false if the call has ended already.
func (f *feed) begin(c *call, stream *grpcclient.Stream) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.over {
		return false
	}
	if f.closed {
		stream.Close()
		return true
	}
	f.call, c.stream = c, stream
	for w := range f.watches {
		c.create(w)
	}
	if f.progress {
		c.send(progressRequest)
	}
	return true
}

var progressRequest = &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: new(pb.WatchProgressRequest)}}

// send sends a request. Encoding it cannot fail, and an error of the stream is passed to Ended.
func (c *call) send(r *pb.WatchRequest) { _ = c.stream.Send(r) }

func (c *call) create(w *Watch) {
	w.created, w.part = false, nil
	c.creating = append(c.creating, w)
	c.send(w.request())
}

// add starts a watch. It reports false if the feed has ended.
func (f *feed) add(w *Watch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	w.feed = f
	f.watches[w] = struct{}{}
	if f.call != nil {
		f.call.create(w)
	}
	return true
}

// cancel ends a watch, and the feed with the last one.
func (f *feed) cancel(w *Watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.canceled {
		return
	}
	if f.call != nil && w.created {
		delete(f.call.byID, w.id)
		f.call.sendCancel(w.id)
	}
	f.removeLocked(w)
}

func (c *call) sendCancel(id int64) {
	c.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (f *feed) removeLocked(w *Watch) {
	w.canceled = true
	delete(f.watches, w)
	if len(f.watches) > 0 || f.closed {
		return
	}
	f.closed = true
	f.stop()
	if f.call != nil {
		f.call.stream.Close()
	}
	go f.c.forget(f) // Client.mu is not locked under feed.mu
}

func (f *feed) requestProgress() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress = true
	if f.call != nil {
		f.call.send(progressRequest)
	}
}

// Received implements grpcclient.StreamHandler.
func (c *call) Received(message []byte) {
	r := new(pb.WatchResponse)
	if err := proto.Unmarshal(message, r); err != nil {
		c.breakUp()
		return
	}
	f := c.f
	f.mu.Lock()
	if f.call != c || f.closed {
		f.mu.Unlock()
		return
	}
	var ended *Watch
	var to []*Watch // one, or all that get a notification of progress
	var events []*mvccpb.Event
	switch {
	case r.Created:
		ended = c.createdLocked(r)
	case r.Canceled:
		if w := c.byID[r.WatchId]; w != nil {
			delete(c.byID, r.WatchId)
			f.removeLocked(w)
			ended = w
		}
	case r.WatchId == clientv3.InvalidWatchID:
		f.progress = false
		for _, w := range c.byID {
			if w.advance(r.Header) {
				to = append(to, w)
			}
		}
	default:
		w := c.byID[r.WatchId]
		switch {
		case w == nil: // it was canceled
		case len(r.Events) == 0 && !r.Fragment && len(w.part) == 0:
			if w.advance(r.Header) {
				to = append(to, w)
			}
		default:
			if events = w.take(r); len(events) > 0 {
				to = append(to, w)
			}
		}
	}
	f.mu.Unlock()
	if ended != nil {
		ended.handler.Ended(r, nil)
	}
	for _, w := range to {
		if len(events) > 0 {
			w.handler.Events(r.Header, events)
		} else {
			w.handler.Progress(r.Header)
		}
	}
}

// createdLocked records that a watch was created. It returns the watch if that was refused.
func (c *call) createdLocked(r *pb.WatchResponse) (refused *Watch) {
	if len(c.creating) == 0 {
		return nil
	}
	w := c.creating[0]
	c.creating = c.creating[1:]
	switch {
	case w.canceled && !r.Canceled:
		c.sendCancel(r.WatchId)
	case w.canceled:
	case r.Canceled:
		c.f.removeLocked(w)
		return w
	default:
		c.f.pause = 0
		w.id, w.created = r.WatchId, true
		c.byID[w.id] = w
	}
	return nil
}

// breakUp ends a call whose member does not speak the protocol. Its watches continue on another
// one.
func (c *call) breakUp() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.stream.Close()
}

// Ended implements grpcclient.StreamHandler: the watches continue on another call, or end.
func (c *call) Ended(err error) {
	f := c.f
	f.mu.Lock()
	c.over = true
	if f.call != c || f.closed {
		f.mu.Unlock()
		return
	}
	f.call = nil
	if isTemporary(err) {
		f.mu.Unlock()
		go f.connect()
		return
	}
	watches := f.watches
	f.closed, f.watches = true, nil
	for w := range watches {
		w.canceled = true
	}
	f.stop()
	f.mu.Unlock()
	f.c.forget(f)
	for w := range watches {
		w.handler.Ended(nil, err)
	}
}

// isTemporary reports whether watches continue after an error of their call.
func isTemporary(err error) bool {
	if errors.Is(err, io.EOF) {
		return true
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable, codes.Internal, codes.Canceled:
		return s.Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader)
	}
	return false
}
