package grpcproxy

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// queuedBytesMax is the size of a client's queue above which its watchers leave their groups.
const queuedBytesMax = 4 << 20

// stream is a Watch call of a client.
type stream struct {
	w             *watches
	ctx           context.Context
	client        pb.Watch_WatchServer
	metadata      metadata.MD
	requireLeader bool
	done          chan struct{} // closed when nothing more is sent

	mu       sync.Mutex // guards the fields below
	watchers map[int64]*watcher
	nextID   int64
	queue    []*outgoing
	bytes    int        // of the queue
	behind   []*watcher // that have left their groups because the queue was full
	wake     chan struct{}
	err      error // the reason of the end
	ended    bool

	// of a progress request
	pending  map[*group]struct{}
	progress *pb.ResponseHeader // the lowest revision that the groups have reported
}

// outgoing is a response that waits to be sent.
type outgoing struct {
	resp  *pb.WatchResponse // either this
	batch *batch            // or events, for
	wr    *watcher
	from  int64 // events before this revision are not sent to it
}

func (w *watches) newStream(client pb.Watch_WatchServer) (*stream, error) {
	md, _ := metadata.FromIncomingContext(client.Context())
	st := &stream{
		w: w, ctx: client.Context(), client: client, metadata: md, done: make(chan struct{}),
		watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1),
	}
	for _, v := range md["hasleader"] {
		st.requireLeader = st.requireLeader || v == "true"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, errStopping
	}
	w.streams[st] = struct{}{}
	return st, nil
}

var errStopping = status.Error(codes.Unavailable, "etcdserver: server stopped")

// end takes the watchers out of their groups when the call has ended.
func (st *stream) end() {
	st.fail(nil)
	st.w.mu.Lock()
	delete(st.w.streams, st)
	st.w.mu.Unlock()
	st.mu.Lock()
	watchers := st.watchers
	st.watchers = map[int64]*watcher{}
	st.mu.Unlock()
	st.w.p.Metrics.streams.Sub(float64(len(watchers)))
	for _, wr := range watchers {
		st.w.leave(wr)
	}
}

// end ends all streams.
func (w *watches) end() {
	w.mu.Lock()
	w.ended = true
	streams := make([]*stream, 0, len(w.streams))
	for st := range w.streams {
		streams = append(streams, st)
	}
	w.mu.Unlock()
	for _, st := range streams {
		st.fail(errStopping)
	}
}

// register assigns an ID to a watcher. It returns false if the ID that the client requested is
// taken.
func (st *stream) register(wr *watcher, id int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if id != 0 && st.watchers[id] != nil {
		return false
	}
	if id == 0 {
		for id = st.nextID; st.watchers[id] != nil; id++ {
		}
		st.nextID = id + 1
	}
	wr.id = id
	st.watchers[id] = wr
	st.w.p.Metrics.streams.Inc()
	return true
}

func (st *stream) remove(id int64) *watcher {
	st.mu.Lock()
	defer st.mu.Unlock()
	wr := st.watchers[id]
	if wr != nil {
		delete(st.watchers, id)
		st.w.p.Metrics.streams.Dec()
	}
	return wr
}

// fail ends the stream.
func (st *stream) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ended {
		st.ended, st.err = true, err
		st.signalLocked()
	}
}

func (st *stream) failure() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

func (st *stream) signalLocked() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// push1 queues a response regardless of the size of the queue: there is one for each request of the
// client.
func (st *stream) push1(o *outgoing) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queue = append(st.queue, o)
	st.signalLocked()
}

// push queues events for a watcher, and advances its position. It returns false when the queue is
// full: then the watcher is behind, and the caller removes it from its group. span.mu is held.
func (st *stream) push(wr *watcher, b *batch) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.bytes > queuedBytesMax {
		st.behind = append(st.behind, wr)
		return false
	}
	o := &outgoing{batch: b, wr: wr, from: wr.next}
	st.queue = append(st.queue, o)
	st.bytes += b.size()
	wr.next = max(wr.next, b.last()+1)
	st.signalLocked()
	return true
}

func (st *stream) pushProgress(wr *watcher, header *pb.ResponseHeader) {
	st.push1(&outgoing{resp: &pb.WatchResponse{Header: header, WatchId: wr.id}})
}

// pushCancel queues the end of a watch that the cluster has ended.
func (st *stream) pushCancel(wr *watcher, compactRevision int64, reason string) {
	st.remove(wr.id)
	st.push1(&outgoing{resp: &pb.WatchResponse{
		Header: st.w.p.seen.header(), WatchId: wr.id, Canceled: true, CompactRevision: compactRevision, CancelReason: reason,
	}})
}

// take returns the queued responses or, when there are none, the watchers that may join again. It
// waits until there are any.
func (st *stream) take() (queue []*outgoing, behind []*watcher, ok bool) {
	for {
		st.mu.Lock()
		switch {
		case st.ended:
			st.mu.Unlock()
			return nil, nil, false
		case len(st.queue) > 0:
			queue, st.queue = st.queue, nil
			st.mu.Unlock()
			return queue, nil, true
		case len(st.behind) > 0:
			behind, st.behind = st.behind, nil
			st.mu.Unlock()
			return nil, behind, true
		}
		st.mu.Unlock()
		select {
		case <-st.wake:
		case <-st.ctx.Done():
			return nil, nil, false
		}
	}
}

// send sends the queued responses until the stream ends.
func (st *stream) send() {
	defer close(st.done)
	for {
		queue, behind, ok := st.take()
		if !ok {
			return
		}
		for _, wr := range behind {
			st.w.add(wr.key, wr)
		}
		for _, o := range queue {
			if err := st.sendOne(o); err != nil {
				st.fail(nil) // the client has disconnected
				return
			}
		}
	}
}

func (st *stream) sendOne(o *outgoing) error {
	if o.resp != nil {
		st.noteHeader(o.resp.Header)
		return st.client.Send(o.resp)
	}
	defer func() {
		st.mu.Lock()
		st.bytes -= o.batch.size()
		st.mu.Unlock()
	}()
	st.mu.Lock()
	gone := st.watchers[o.wr.id] != o.wr
	st.mu.Unlock()
	if gone {
		return nil // it was canceled, and the response to that is queued
	}
	st.noteHeader(o.batch.header)
	for _, m := range o.batch.messages(o.wr, o.from) {
		if err := st.client.SendMsg(m); err != nil {
			return err
		}
	}
	return nil
}

func (st *stream) noteHeader(h *pb.ResponseHeader) { st.w.p.seen.note(st.ctx, h) }

// requestProgress requests the positions of all groups of the stream's watchers. The response is
// sent when all have reported, after the preceding events.
func (st *stream) requestProgress() {
	st.mu.Lock()
	watchers := make([]*watcher, 0, len(st.watchers))
	for _, wr := range st.watchers {
		watchers = append(watchers, wr)
	}
	st.pending, st.progress = map[*group]struct{}{}, nil
	st.mu.Unlock()
	upstream := map[string]context.Context{} // one for each stream of the cluster
	for _, wr := range watchers {
		s := st.w.spanOf(wr.key)
		s.mu.Lock()
		if g := wr.group; g != nil {
			st.mu.Lock()
			st.pending[g] = struct{}{}
			st.mu.Unlock()
			upstream[g.streamKey] = g.ctx
		}
		s.mu.Unlock()
	}
	if len(upstream) == 0 {
		st.push1(&outgoing{resp: &pb.WatchResponse{Header: st.w.p.seen.header(), WatchId: clientv3.InvalidWatchID}})
		return
	}
	for _, ctx := range upstream {
		// a group that ends in the meantime counts as one that has reported
		_ = st.w.p.watcher.RequestProgress(ctx)
	}
}

// progressed records that a group has delivered everything up to a revision, or that it has no more
// watchers of this stream. span.mu is held.
func (st *stream) progressed(g *group, revision int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, waits := st.pending[g]; !waits {
		return
	}
	delete(st.pending, g)
	if st.progress == nil || revision < st.progress.Revision {
		st.progress = st.w.p.seen.header()
		st.progress.Revision = revision
	}
	if len(st.pending) > 0 {
		return
	}
	st.queue = append(st.queue, &outgoing{resp: &pb.WatchResponse{Header: st.progress, WatchId: clientv3.InvalidWatchID}})
	st.progress = nil
	st.signalLocked()
}

// waitsFor reports whether a progress request waits for a group.
func (st *stream) waitsFor(g *group) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	_, waits := st.pending[g]
	return waits
}

// forget ends the wait for a group that was merged into another one that is waited for.
func (st *stream) forget(g *group) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.pending, g)
}
