package grpcproxy

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

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
	upstream := map[string]struct{}{} // one for each call to the cluster
	for _, wr := range watchers {
		s := st.w.spanOf(wr.key)
		s.mu.Lock()
		if g := wr.group; g != nil {
			st.mu.Lock()
			st.pending[g] = struct{}{}
			st.mu.Unlock()
			upstream[g.streamKey] = struct{}{}
		}
		s.mu.Unlock()
	}
	if len(upstream) == 0 {
		st.respond(&pb.WatchResponse{Header: st.w.p.seen.header(), WatchId: clientv3.InvalidWatchID})
		return
	}
	for name := range upstream {
		// a group that ends in the meantime counts as one that has reported
		st.w.p.Watches.Progress(name)
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
	st.queue = append(st.queue, outgoing{resp: &pb.WatchResponse{Header: st.progress, WatchId: clientv3.InvalidWatchID}})
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
