package grpcproxy

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
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
	out           batchStream
	metadata      metadata.MD
	requireLeader bool
	done          chan struct{} // closed when nothing more is sent

	mu       sync.Mutex // guards the fields below
	watchers map[int64]*watcher
	nextID   int64
	queue    []outgoing
	spare    []outgoing // the previous queue, for reuse
	bytes    int        // of the queue, and of the responses that are being sent
	behind   []*watcher // that have left their groups because the queue was full
	wake     chan struct{}
	err      error // the reason of the end
	ended    bool

	// of a progress request
	pending  map[*group]struct{}
	progress *pb.ResponseHeader // the lowest revision that the groups have reported
}

// batchStream is a stream that sends many small messages with one write: SendMore may leave a
// message in the output until Flush or SendMsg. The streams of grpcserver implement it.
type batchStream interface {
	SendMsg(m any) error
	SendMore(m any) error
	Flush()
}

func (w *watches) newStream(client pb.Watch_WatchServer) (*stream, error) {
	md, _ := metadata.FromIncomingContext(client.Context())
	// the handler's stream wraps the one of grpcserver
	out := client.(*grpc.GenericServerStream[pb.WatchRequest, pb.WatchResponse]).ServerStream.(batchStream)
	st := &stream{
		w: w, ctx: client.Context(), out: out, metadata: md, done: make(chan struct{}),
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
	st.w.leaveAll(st, watchers)
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
