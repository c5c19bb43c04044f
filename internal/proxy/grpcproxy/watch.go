package grpcproxy

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cairn/internal/proxy/rawgrpc"
)

// watchServer is the Watch service.
type watchServer struct {
	pb.UnimplementedWatchServer
	p *Proxy
}

// watcher is one watch of a client.
type watcher struct {
	stream *stream
	id     int64
	key    spanKey

	progress, fragment  bool // as requested by the client
	noPuts, noDeletions bool

	unwanted atomic.Bool // canceled by its client: queued events are not sent

	// guarded by span.mu
	group    *group // nil while it is behind, or has been canceled
	canceled bool
	next     int64 // the first revision that it may get, unless it is before the group's position
}

// Watch implements pb.WatchServer.
func (s *watchServer) Watch(client pb.Watch_WatchServer) error {
	st, err := s.p.watches.newStream(client)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() { received <- st.receive(client) }()
	go st.send()
	defer func() {
		st.end()
		<-st.done // nothing may be sent after the handler has returned
	}()
	select {
	case err = <-received:
		if errors.Is(err, io.EOF) {
			// the client sends no more requests, and may still read
			<-st.done
			err = nil
		}
	case <-st.done:
	}
	if failed := st.failure(); failed != nil {
		return failed
	}
	return err
}

// receive processes the client's requests.
func (st *stream) receive(client pb.Watch_WatchServer) error {
	for {
		r, err := client.Recv()
		if err != nil {
			return err
		}
		switch u := r.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			if u.CreateRequest != nil {
				st.create(u.CreateRequest)
			}
		case *pb.WatchRequest_CancelRequest:
			if u.CancelRequest != nil {
				st.cancelWatch(u.CancelRequest.WatchId)
			}
		case *pb.WatchRequest_ProgressRequest:
			st.requestProgress()
		}
	}
}

// create starts a watch.
func (st *stream) create(r *pb.WatchCreateRequest) {
	p := st.w.p
	key, end := string(r.Key), string(r.RangeEnd)
	if key == "" {
		key = "\x00" // etcd's meaning of an empty key
	}
	wr := &watcher{stream: st, progress: r.ProgressNotify, fragment: r.Fragment, next: r.StartRevision}
	for _, f := range r.Filters {
		wr.noPuts = wr.noPuts || f == pb.WatchCreateRequest_NOPUT
		wr.noDeletions = wr.noDeletions || f == pb.WatchCreateRequest_NODELETE
	}
	wr.key = spanKey{key: key, end: end, previous: r.PrevKv, requireLeader: st.requireLeader, user: hasToken(st.ctx)}
	if end != "" && end != "\x00" && key >= end {
		st.refuse("mvcc: watcher range is empty")
		return
	}
	if r.StartRevision < 0 {
		st.refuse(rpctypes.ErrCompacted.Error()) // as etcd answers
		return
	}
	if err := p.watches.check(st.ctx, key, end); err != nil {
		st.refuse(status.Convert(err).Message())
		return
	}
	for wr.next <= 0 && p.seen.header().Revision == 0 {
		// No member has been reached, so the revision is unknown from which this watch would get
		// events.
		select {
		case <-st.done:
			return
		case <-st.ctx.Done():
			return
		case <-time.After(revisionPause):
		}
		if err := p.watches.check(st.ctx, key, end); err != nil {
			st.refuse(status.Convert(err).Message())
			return
		}
	}
	if !st.register(wr, r.WatchId) {
		st.refuse("mvcc: duplicate watch ID provided on the WatchStream")
		return
	}
	header := p.seen.header()
	if wr.next <= 0 {
		wr.next = header.Revision + 1
	}
	st.respond(&pb.WatchResponse{Header: header, WatchId: wr.id, Created: true})
	p.watches.add(wr.key, wr)
}

// refuse responds to a request for a watch that is refused.
func (st *stream) refuse(reason string) {
	st.respond(&pb.WatchResponse{
		Header: st.w.p.seen.header(), WatchId: clientv3.InvalidWatchID, Created: true, Canceled: true, CancelReason: reason,
	})
}

// cancelWatch ends a watch at its client's request. The response is queued after the preceding
// events.
func (st *stream) cancelWatch(id int64) {
	wr := st.remove(id)
	if wr == nil {
		return
	}
	wr.unwanted.Store(true)
	st.w.leave(wr)
	st.respond(&pb.WatchResponse{Header: st.w.p.seen.header(), WatchId: id, Canceled: true})
}

// checkKey is a permission that was checked.
type checkKey struct{ key, end, token string }

// checkedFor is the time for which a permission confirmed by the cluster is cached.
const (
	checkedFor = time.Second
	checkedMax = 4096
	// revisionPause is the pause until the cluster is asked again for its revision.
	revisionPause = 100 * time.Millisecond
)

// check verifies with the cluster that the client may read a range: the watch that it is going to
// share has the token of another client. It also learns the revision, for watches without a start.
func (w *watches) check(ctx context.Context, key, end string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	k := checkKey{key: key, end: end}
	for _, name := range []string{"token", "authorization"} {
		for _, v := range md[name] {
			k.token += v + "\x00"
		}
	}
	now := time.Now()
	w.mu.Lock()
	fresh := now.Sub(w.checked[k]) < checkedFor
	w.mu.Unlock()
	if fresh {
		return nil
	}
	// serializable, as etcd's: a member without a leader serves watches, too
	opts := []clientv3.OpOption{clientv3.WithCountOnly(), clientv3.WithLimit(1), clientv3.WithSerializable()}
	if end != "" {
		opts = append(opts, clientv3.WithRange(end))
	}
	r, err := w.p.kv.Do(rawgrpc.Outgoing(ctx), clientv3.OpGet(key, opts...))
	switch {
	case err == nil:
		w.p.seen.note(ctx, r.Get().Header)
		w.mu.Lock()
		if len(w.checked) >= checkedMax {
			clear(w.checked)
		}
		w.checked[k] = now
		w.mu.Unlock()
		return nil
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrInvalidAuthToken),
		errors.Is(err, rpctypes.ErrAuthOldRevision), status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.PermissionDenied:
		return err
	}
	return nil // the watch itself waits until the cluster can be reached
}

// endOf returns nil for the regular end of a stream.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
