package grpcproxy

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
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
		s.removeIfEmptyLocked() // the watcher may have been canceled
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
			g.joinLocked(wr)
			return
		}
	}
	ctx, streamKey := upstreamContext(s.w.ctx, wr.stream.metadata, s.key.requireLeader)
	own, cancel := context.WithCancel(s.w.ctx)
	g := &group{s: s, ctx: own, cancel: cancel, streamKey: streamKey, owner: wr, position: wr.next, audiences: map[*stream]*audience{}}
	s.groups = append(s.groups, g)
	g.joinLocked(wr)
	s.w.p.Metrics.upstream.Inc()
	g.start(ctx, wr.next)
}

// leave removes a watcher from its group permanently.
func (w *watches) leave(wr *watcher) {
	s := w.spanOf(wr.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	wr.canceled = true
	if wr.group != nil {
		wr.group.leaveLocked(wr)
	}
	s.removeIfEmptyLocked()
}

// leaveAll removes all watchers of a stream that has ended.
func (w *watches) leaveAll(st *stream, watchers map[int64]*watcher) {
	bySpan := map[spanKey][]*watcher{}
	for _, wr := range watchers {
		bySpan[wr.key] = append(bySpan[wr.key], wr)
	}
	for key, list := range bySpan {
		s := w.spanOf(key)
		s.mu.Lock()
		for _, wr := range list {
			wr.canceled = true
		}
		for _, wr := range list {
			if wr.group != nil {
				wr.group.dropLocked(st) // with those of the list that share the group
			}
		}
		s.removeIfEmptyLocked()
		s.mu.Unlock()
	}
}

// removeIfEmptyLocked removes a span without groups.
func (s *span) removeIfEmptyLocked() {
	if len(s.groups) > 0 {
		return
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.spans[s.key] == s {
		delete(s.w.spans, s.key)
	}
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
	s.removeIfEmptyLocked()
}

// mergeLocked moves the watchers of a group into another one at the same position, or the reverse.
func (s *span) mergeLocked(g *group) {
	for _, other := range s.groups {
		if other == g || other.position != g.position {
			continue
		}
		from, to := g, other
		if from.size > to.size {
			from, to = to, from
		}
		for st, a := range from.audiences {
			to.audienceOf(st).mergeLocked(to, a)
			if !st.waitsFor(to) {
				st.progressed(from, to.position-1)
			} else {
				st.forget(from)
			}
		}
		to.size += from.size
		s.w.p.Metrics.watchers.Inc()
		from.audiences, from.size = nil, 0
		s.endLocked(from)
		return
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
