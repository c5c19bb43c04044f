package clusterwatch

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"cairn/internal/grpcclient"
)

// Handler gets what a watch reports. Its methods must not wait for the network.
type Handler interface {
	// Events gets the events of complete revisions. They belong to the handler.
	Events(h *pb.ResponseHeader, events []*mvccpb.Event)
	// Progress reports that all events up to the header's revision have been delivered.
	Progress(h *pb.ResponseHeader)
	// Ended is called once if the cluster has ended the watch: by a response, or by an error of the
	// call, with which the response is nil.
	Ended(r *pb.WatchResponse, err error)
}

// Client makes watches.
type Client struct {
	calls *grpcclient.Client

	mu    sync.Mutex
	feeds map[string]*feed // by their names
}

// New returns a client that makes calls with c.
func New(c *grpcclient.Client) *Client { return &Client{calls: c, feeds: map[string]*feed{}} }

// Watch is a watch of the cluster.
type Watch struct {
	feed    *feed
	handler Handler
	key     []byte
	end     []byte
	prevKV  bool

	// guarded by feed.mu
	next     int64 // the first revision that has not been delivered
	id       int64 // at the member, if it has been created there
	created  bool
	canceled bool
	part     []*mvccpb.Event // of a response of which a fragment is missing
}

// Watch starts a watch of the keys from key to end at a revision; it ends when Cancel is called, or
// after Ended. ctx has the metadata, which is the same for all watches of a feed's name.
func (c *Client) Watch(ctx context.Context, name, key, end string, revision int64, prevKV bool, h Handler) *Watch {
	w := &Watch{handler: h, key: []byte(key), end: []byte(end), prevKV: prevKV, next: revision}
	for {
		c.mu.Lock()
		f := c.feeds[name]
		if f == nil {
			f = newFeed(ctx, c, name)
			c.feeds[name] = f
		}
		c.mu.Unlock()
		if f.add(w) {
			return w
		}
		c.forget(f) // it has just lost its last watch
	}
}

// Progress requests the positions of all watches of a name.
func (c *Client) Progress(name string) {
	c.mu.Lock()
	f := c.feeds[name]
	c.mu.Unlock()
	if f != nil {
		f.requestProgress()
	}
}

func (c *Client) forget(f *feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feeds[f.name] == f {
		delete(c.feeds, f.name)
	}
}

// Cancel ends the watch. A method of the handler may be running, or run once more.
func (w *Watch) Cancel() { w.feed.cancel(w) }

func (w *Watch) request() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: w.key, RangeEnd: w.end, StartRevision: w.next, PrevKv: w.prevKV, ProgressNotify: true, Fragment: true,
	}}}
}

// take records a response with events, and returns them; none while a fragment is missing.
func (w *Watch) take(r *pb.WatchResponse) (events []*mvccpb.Event) {
	events = r.Events
	if len(w.part) > 0 {
		events, w.part = append(w.part, events...), nil
	}
	if r.Fragment {
		w.part = events
		return nil
	}
	if n := len(events); n > 0 {
		w.next = events[n-1].Kv.ModRevision + 1
	}
	return events
}

// advance records a notification of progress. It reports false if the watch has a part of a
// response, which precedes the notification's revision.
func (w *Watch) advance(h *pb.ResponseHeader) bool {
	if len(w.part) > 0 {
		return false
	}
	w.next = max(w.next, h.GetRevision()+1)
	return true
}
