package grpcproxy

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
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

// run watches the cluster until the group ends.
func (g *group) run(start int64) {
	opts := []clientv3.OpOption{clientv3.WithRev(start), clientv3.WithProgressNotify(), clientv3.WithFragment()}
	if g.s.key.end != "" {
		opts = append(opts, clientv3.WithRange(g.s.key.end))
	}
	if g.s.key.previous {
		opts = append(opts, clientv3.WithPrevKV())
	}
	last := g.follow(g.s.w.p.watcher.Watch(g.ctx, g.s.key.key, opts...))
	if g.ctx.Err() != nil {
		return // its last watcher has left, or it was merged
	}
	g.fail(&last)
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

// progress passes a progress notification on to the watchers.
func (g *group) progress(r *clientv3.WatchResponse) {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if g.ctx.Err() == nil {
		g.progressLocked(r)
		g.advanceLocked(r.Header.Revision + 1)
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
func (g *group) progressLocked(r *clientv3.WatchResponse) {
	for st, a := range g.audiences {
		a.all(func(wr *watcher) {
			if wr.progress {
				st.pushProgress(wr, r.Header)
			}
		})
		st.progressed(g, r.Header.Revision)
	}
}

// fail ends the group because the cluster has ended its watch. If the reason is the token of the
// owner, the others get a new group.
func (g *group) fail(r *clientv3.WatchResponse) {
	s := g.s
	err := r.Err()
	if err == nil {
		err = status.Error(codes.Unavailable, "the watch of the cluster has ended")
	}
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
			default:
				wr.canceled = true
				st.pushCancel(wr, r.CompactRevision, reasonOf(r, err))
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
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// reasonOf returns the reason for a client; a compaction has a separate field.
func reasonOf(r *clientv3.WatchResponse, err error) string {
	switch {
	case r.CompactRevision != 0:
		return r.CancelReason
	case r.CancelReason != "":
		return r.CancelReason
	}
	return err.Error()
}
