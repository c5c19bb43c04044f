package grpcproxy

import (
	"context"
	"errors"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// group is one watch of the cluster and the watchers that it serves. span.mu guards the fields that
// change.
type group struct {
	s      *span
	ctx    context.Context // with the token of the watcher for which it was made
	cancel context.CancelFunc
	// names the stream to the cluster that it shares with other groups
	streamKey string
	owner     *watcher
	position  int64 // everything before this revision has been delivered
	audiences map[*stream]*audience
	size      int // number of watchers

	flow flow
}

// audienceOf returns the watchers of a stream, to which the caller adds one.
func (g *group) audienceOf(st *stream) *audience {
	a := g.audiences[st]
	if a == nil {
		a = new(audience)
		g.audiences[st] = a
	}
	return a
}

func (g *group) joinLocked(wr *watcher) {
	g.audienceOf(wr.stream).add(wr, g.position)
	wr.group = g
	if g.size++; g.size > 1 {
		g.s.w.p.Metrics.watchers.Inc()
	}
}

// leaveLocked takes a watcher out of the group, which ends with its last one.
func (g *group) leaveLocked(wr *watcher) {
	st := wr.stream
	a := g.audiences[st]
	if a.size() == 1 {
		g.dropLocked(st)
		return
	}
	a.remove(wr)
	g.leftLocked(wr)
	g.size--
	g.s.w.p.Metrics.watchers.Dec()
}

// dropLocked takes all watchers of a stream out of the group, which ends with its last one.
func (g *group) dropLocked(st *stream) {
	a := g.audiences[st]
	delete(g.audiences, st)
	a.all(g.leftLocked)
	before := g.size
	g.size -= a.size()
	g.s.w.p.Metrics.watchers.Sub(float64(max(before-1, 0) - max(g.size-1, 0)))
	// events that the watchers have not received must not count as delivered
	st.progressed(g, g.position-1)
	if g.size == 0 {
		g.s.endLocked(g)
	}
}

// leftLocked records the revision at which a watcher of the group continues elsewhere.
func (g *group) leftLocked(wr *watcher) {
	wr.group, wr.next = nil, max(wr.next, g.position)
}

// start starts the watch of the cluster.
func (g *group) start(ctx context.Context, revision int64) {
	p, k := g.s.w.p, g.s.key
	key, end := p.inCluster(k.key, k.end)
	watch := p.Watches.Watch(ctx, g.streamKey, key, end, revision, k.previous, g)
	context.AfterFunc(g.ctx, watch.Cancel)
}

// Ended implements clusterwatch.Handler.
func (g *group) Ended(r *pb.WatchResponse, err error) {
	g.flow.flush(g)
	if r == nil {
		err = rpctypes.Error(err)
		r = &pb.WatchResponse{CancelReason: err.Error()}
	} else {
		err = errorOf(r.CancelReason)
	}
	g.fail(r, err)
}

// errorOf returns the error that is the reason of a canceled watch: etcd's text for a gRPC status,
// or a text without a code.
func errorOf(reason string) error {
	if _, text, ok := strings.Cut(reason, " desc = "); ok && strings.HasPrefix(reason, "rpc error: code = ") {
		reason = text
	}
	return rpctypes.Error(status.Error(codes.FailedPrecondition, reason))
}

// deliver passes events on to the watchers, and returns how many there are.
func (g *group) deliver(b *batch) (watchers int) {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if g.ctx.Err() != nil {
		return 0
	}
	var full []*stream
	for st, a := range g.audiences {
		a.advance(b.first())
		if !st.push(a, b) {
			full = append(full, st)
		}
	}
	for _, st := range full {
		g.dropLocked(st) // its watchers join again when the client has read the queued events
	}
	g.s.w.p.Metrics.events.Add(float64(max(g.size-1, 0) * len(b.events)))
	g.advanceLocked(b.last() + 1)
	return g.size
}

// Progress implements clusterwatch.Handler: the watchers get the notification.
func (g *group) Progress(h *pb.ResponseHeader) {
	g.flow.flush(g)
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if g.ctx.Err() == nil {
		g.progressLocked(h)
		g.advanceLocked(h.GetRevision() + 1)
	}
}

// advanceLocked moves the group's position forward, and merges the group with another one that has
// the same.
func (g *group) advanceLocked(position int64) {
	g.position = max(g.position, position)
	for _, a := range g.audiences {
		a.advance(g.position)
	}
	if g.size > 0 {
		g.s.mergeLocked(g)
	}
}

// progressLocked reports to the watchers that they have all events up to the group's position.
func (g *group) progressLocked(h *pb.ResponseHeader) {
	for st, a := range g.audiences {
		a.all(func(wr *watcher) {
			if wr.progress {
				st.pushProgress(wr, h)
			}
		})
		st.progressed(g, h.GetRevision())
	}
}

// fail ends the group because the cluster has ended its watch. If the reason is the token of the
// owner, the others get a new group.
func (g *group) fail(r *pb.WatchResponse, err error) {
	s := g.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.ctx.Err() != nil {
		return
	}
	var again []*watcher
	for st, a := range g.audiences {
		noLeader := errors.Is(err, rpctypes.ErrNoLeader)
		if noLeader {
			st.fail(rpctypes.ErrGRPCNoLeader)
		}
		a.all(func(wr *watcher) {
			g.leftLocked(wr)
			switch {
			case noLeader:
			case isAboutToken(err) && wr != g.owner:
				again = append(again, wr)
			case isOutdatedToken(err):
				// The client makes the call again, with a new token: the libraries get one for each
				// call. If the token is invalid, the watch is refused then.
				st.fail(status.Error(codes.Unavailable, err.Error()))
			default:
				wr.canceled = true
				st.pushCancel(wr, r.CompactRevision, r.CancelReason)
			}
		})
		st.progressed(g, g.position-1)
	}
	s.w.p.Metrics.watchers.Sub(float64(max(g.size-1, 0)))
	g.audiences, g.size = nil, 0
	s.endLocked(g)
	if len(again) > 0 {
		go func() {
			for _, wr := range again {
				s.w.add(wr.key, wr)
			}
		}()
	}
}

func isAboutToken(err error) bool {
	return isOutdatedToken(err) || errors.Is(err, rpctypes.ErrPermissionDenied)
}

// isOutdatedToken reports whether a watch was refused because of a token that was valid when its
// watcher was checked.
func isOutdatedToken(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision)
}
