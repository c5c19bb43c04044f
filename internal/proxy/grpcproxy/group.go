package grpcproxy

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// spanKey is what watchers must have in common to share a watch of the cluster.
type spanKey struct {
	key, end      string
	previous      bool // events include the previous version
	requireLeader bool // ends when the member has no leader
	// the client has a token; its user does not matter, since each watcher is checked
	user bool
}

// watches has the spans of all clients.
type watches struct {
	p   *Proxy
	ctx context.Context // ends with the proxy

	mu      sync.Mutex // guards the fields below
	spans   map[spanKey]*span
	streams map[*stream]struct{}
	checked map[checkKey]time.Time
	ended   bool
}

func newWatches(ctx context.Context, p *Proxy) *watches {
	return &watches{p: p, ctx: ctx, spans: map[spanKey]*span{}, streams: map[*stream]struct{}{}, checked: map[checkKey]time.Time{}}
}

// span is a range with the groups that watch it.
type span struct {
	w   *watches
	key spanKey

	mu     sync.Mutex // guards the fields below, and the groups
	groups []*group
}

// group is one watch of the cluster and the watchers that it serves.
type group struct {
	s      *span
	ctx    context.Context // with the token of the watcher for which it was made
	cancel context.CancelFunc
	// names the stream to the cluster that it shares with other groups
	streamKey string
	owner     *watcher
	position  int64 // everything before this revision has been delivered
	watchers  map[*watcher]struct{}
}

// spanOf returns the span of a key. It is removed when its last group has ended.
func (w *watches) spanOf(key spanKey) *span {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spans[key]
	if s == nil {
		s = &span{w: w, key: key}
		w.spans[key] = s
	}
	return s
}

// add serves a watcher from its start on.
func (w *watches) add(key spanKey, wr *watcher) {
	for {
		s := w.spanOf(key)
		s.mu.Lock()
		w.mu.Lock()
		current := w.spans[key] == s
		w.mu.Unlock()
		if !current { // it was removed in between
			s.mu.Unlock()
			continue
		}
		s.addLocked(wr)
		s.mu.Unlock()
		return
	}
}

func (s *span) addLocked(wr *watcher) {
	if wr.canceled {
		return
	}
	for _, g := range s.groups {
		if wr.next >= g.position {
			s.joinLocked(g, wr)
			return
		}
	}
	ctx, streamKey := upstreamContext(s.w.ctx, wr.stream.metadata, s.key.requireLeader)
	ctx, cancel := context.WithCancel(ctx)
	g := &group{s: s, ctx: ctx, cancel: cancel, streamKey: streamKey, owner: wr, position: wr.next, watchers: map[*watcher]struct{}{}}
	s.groups = append(s.groups, g)
	s.joinLocked(g, wr)
	s.w.p.Metrics.upstream.Inc()
	go g.run(wr.next)
}

func (s *span) joinLocked(g *group, wr *watcher) {
	g.watchers[wr] = struct{}{}
	wr.group = g
	if len(g.watchers) > 1 {
		s.w.p.Metrics.watchers.Inc()
	}
}

// leaveLocked takes a watcher out of its group, which ends with its last one.
func (s *span) leaveLocked(wr *watcher) {
	g := wr.group
	if g == nil {
		return
	}
	wr.group = nil
	delete(g.watchers, wr)
	// events that the watcher has not received must not count as delivered
	wr.stream.progressed(g, wr.next-1)
	if len(g.watchers) > 0 {
		s.w.p.Metrics.watchers.Dec()
		return
	}
	s.endLocked(g)
}

// endLocked removes a group, and the span with its last one.
func (s *span) endLocked(g *group) {
	for i, other := range s.groups {
		if other != g {
			continue
		}
		s.groups = append(s.groups[:i:i], s.groups[i+1:]...)
		g.cancel()
		s.w.p.Metrics.upstream.Dec()
		break
	}
	if len(s.groups) == 0 {
		s.w.mu.Lock()
		if s.w.spans[s.key] == s {
			delete(s.w.spans, s.key)
		}
		s.w.mu.Unlock()
	}
}

// upstreamContext returns the context of a watch of the cluster. Watches with the same metadata
// share a stream, so it has only the metadata that the cluster uses.
func upstreamContext(ctx context.Context, md metadata.MD, requireLeader bool) (of context.Context, streamKey string) {
	out := metadata.MD{}
	streamKey = strconv.FormatBool(requireLeader)
	for _, name := range []string{"token", "authorization"} {
		if values := md[name]; len(values) > 0 {
			out[name] = values
			streamKey += "\x00" + strings.Join(values, "\x00")
		}
	}
	ctx = metadata.NewOutgoingContext(ctx, out)
	if requireLeader {
		ctx = clientv3.WithRequireLeader(ctx)
	}
	return ctx, streamKey
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
	var last clientv3.WatchResponse
	for r := range g.s.w.p.watcher.Watch(g.ctx, g.s.key.key, opts...) {
		if last = r; r.Err() != nil {
			break
		}
		g.deliver(&r)
	}
	if g.ctx.Err() != nil {
		return // its last watcher has left, or it was merged
	}
	g.fail(&last)
}

// deliver passes a response of the cluster on to the watchers.
func (g *group) deliver(r *clientv3.WatchResponse) {
	s := g.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.ctx.Err() != nil {
		return
	}
	if r.IsProgressNotify() {
		g.position = max(g.position, r.Header.Revision+1)
		g.progressLocked(r)
		s.mergeLocked(g)
		return
	}
	if len(r.Events) == 0 {
		return
	}
	b := &batch{header: r.Header, events: make([]*mvccpb.Event, len(r.Events))}
	copy(b.events, r.Events)
	g.position = max(g.position, b.events[len(b.events)-1].Kv.ModRevision+1)
	var behind []*watcher
	for wr := range g.watchers {
		if !wr.stream.push(wr, b) {
			behind = append(behind, wr)
		}
	}
	s.w.p.Metrics.events.Add(float64((len(g.watchers) - 1) * len(b.events)))
	for _, wr := range behind {
		s.leaveLocked(wr) // it joins again when its client has read the queued events
	}
	if g.ctx.Err() == nil {
		s.mergeLocked(g)
	}
}

// progressLocked reports to the watchers that they have all events up to the group's position.
func (g *group) progressLocked(r *clientv3.WatchResponse) {
	streams := map[*stream]struct{}{}
	for wr := range g.watchers {
		if wr.progress {
			wr.stream.pushProgress(wr, r.Header)
		}
		streams[wr.stream] = struct{}{}
	}
	for st := range streams {
		st.progressed(g, r.Header.Revision)
	}
}

// mergeLocked moves the watchers of a group into another one at the same position, or the reverse.
func (s *span) mergeLocked(g *group) {
	for _, other := range s.groups {
		if other == g || other.position != g.position {
			continue
		}
		from, to := g, other
		if len(from.watchers) > len(to.watchers) {
			from, to = to, from
		}
		for wr := range from.watchers {
			to.watchers[wr] = struct{}{}
			wr.group = to
			if !wr.stream.waitsFor(to) {
				wr.stream.progressed(from, to.position-1)
			} else {
				wr.stream.forget(from)
			}
		}
		s.w.p.Metrics.watchers.Inc()
		from.watchers = nil
		s.endLocked(from)
		return
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
	for wr := range g.watchers {
		wr.group = nil
		switch {
		case errors.Is(err, rpctypes.ErrNoLeader):
			wr.stream.fail(rpctypes.ErrGRPCNoLeader)
		case isAboutToken(err) && wr != g.owner:
			again = append(again, wr)
		default:
			wr.canceled = true
			wr.stream.progressed(g, wr.next-1)
			wr.stream.pushCancel(wr, r.CompactRevision, reasonOf(r, err))
		}
	}
	if n := len(g.watchers); n > 1 {
		s.w.p.Metrics.watchers.Sub(float64(n - 1))
	}
	g.watchers = nil
	s.endLocked(g)
	if len(again) > 0 {
		key := s.key
		go func() {
			for _, wr := range again {
				s.w.add(key, wr)
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
