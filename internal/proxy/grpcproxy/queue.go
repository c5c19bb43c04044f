package grpcproxy

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// outgoing is what waits in the queue of a stream: a response, or a batch of events.
type outgoing struct {
	resp *pb.WatchResponse

	batch    *batch
	watchers []*watcher // that get the batch: audience.current, or one watcher
	from     int64      // events before this revision are not sent
}

// joins reports whether the batches of both are for the same watchers, so that each watcher can get
// one response with the events of both.
func (o *outgoing) joins(other *outgoing) bool {
	return o.batch != nil && other.batch != nil && o.from == 0 && other.from == 0 &&
		len(o.watchers) == len(other.watchers) && &o.watchers[0] == &other.watchers[0]
}

// respond queues a response regardless of the size of the queue: there is one for each request of
// the client.
func (st *stream) respond(r *pb.WatchResponse) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queue = append(st.queue, outgoing{resp: r})
	st.signalLocked()
}

// push queues events for the watchers of an audience. It returns false when the queue is full: then
// the watchers are behind, and the caller takes them out of their group. span.mu is held.
func (st *stream) push(a *audience, b *batch) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.bytes > queuedBytesMax {
		a.all(func(wr *watcher) { st.behind = append(st.behind, wr) })
		return false
	}
	if len(a.current) > 0 {
		st.queue = append(st.queue, outgoing{batch: b, watchers: a.current})
		st.bytes += b.size()
	}
	for _, wr := range a.future {
		if wr.next <= b.last() {
			st.queue = append(st.queue, outgoing{batch: b, watchers: []*watcher{wr}, from: wr.next})
			st.bytes += b.size()
		}
	}
	st.signalLocked()
	return true
}

func (st *stream) pushProgress(wr *watcher, header *pb.ResponseHeader) {
	st.respond(&pb.WatchResponse{Header: header, WatchId: wr.id})
}

// pushCancel queues the end of a watch that the cluster has ended.
func (st *stream) pushCancel(wr *watcher, compactRevision int64, reason string) {
	st.remove(wr.id)
	st.respond(&pb.WatchResponse{
		Header: st.w.p.seen.header(), WatchId: wr.id, Canceled: true, CompactRevision: compactRevision, CancelReason: reason,
	})
}

// take returns the queued responses or, when there are none, the watchers that may join again. It
// waits until there are any. The queue must be passed to sent.
func (st *stream) take() (queue []outgoing, behind []*watcher, ok bool) {
	for {
		st.mu.Lock()
		switch {
		case st.ended:
			st.mu.Unlock()
			return nil, nil, false
		case len(st.queue) > 0:
			queue, st.queue, st.spare = st.queue, st.spare, nil
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

// spareMax is the capacity of the largest queue that is reused.
const spareMax = 1024

// sent releases a queue whose responses have been sent.
func (st *stream) sent(queue []outgoing) {
	clear(queue)
	if cap(queue) > spareMax {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.spare = queue[:0]
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
		if err := st.sendQueue(queue); err != nil {
			st.fail(nil) // the client has disconnected
			return
		}
		st.sent(queue)
	}
}

func (st *stream) sendQueue(queue []outgoing) error {
	for len(queue) > 0 {
		if r := queue[0].resp; r != nil {
			st.noteHeader(r.Header)
			if err := st.out.SendMore(r); err != nil {
				return err
			}
			queue = queue[1:]
			continue
		}
		n, bytes := 1, queue[0].batch.size()
		for n < len(queue) && queue[n].joins(&queue[0]) && bytes+queue[n].batch.size() <= joinedBytesMax {
			bytes += queue[n].batch.size()
			n++
		}
		if err := st.sendEvents(queue[:n]); err != nil {
			return err
		}
		queue = queue[n:]
	}
	st.out.Flush()
	return nil
}

// joinedBytesMax is the size up to which the events of several batches are sent in one response.
const joinedBytesMax = 64 << 10

// sendEvents sends the events of batches for the same watchers: one response to each.
func (st *stream) sendEvents(list []outgoing) error {
	bytes := 0
	for i := range list {
		bytes += list[i].batch.size()
	}
	defer func() {
		st.mu.Lock()
		st.bytes -= bytes
		st.mu.Unlock()
	}()
	first := &list[0]
	header := list[len(list)-1].batch.header
	st.noteHeader(header)
	var m message
	var joined [variants][][]byte // the encoded events for each combination of filters
	for _, wr := range first.watchers {
		switch {
		case wr.unwanted.Load():
			continue // the response to the cancellation is queued
		case first.from > 0 || wr.fragment && bytes > fragmentBytesMax:
			if err := st.sendFragments(first, wr); err != nil {
				return err
			}
			continue
		}
		v := wr.variant()
		if joined[v] == nil {
			joined[v] = make([][]byte, 0, len(list))
			for i := range list {
				if events := list[i].batch.encode(v); len(events) > 0 {
					joined[v] = append(joined[v], events)
				}
			}
		}
		if len(joined[v]) == 0 {
			continue // it wants none of the events
		}
		m = message{head: list[len(list)-1].batch.encodedHead(), id: wr.id, events: joined[v]}
		if err := st.out.SendMore(&m); err != nil {
			return err
		}
	}
	return nil
}

// sendFragments sends the events of a batch to one watcher.
func (st *stream) sendFragments(o *outgoing, wr *watcher) error {
	for _, m := range o.batch.fragments(wr, o.from) {
		if err := st.out.SendMore(m); err != nil {
			return err
		}
	}
	return nil
}

func (st *stream) noteHeader(h *pb.ResponseHeader) { st.w.p.seen.note(st.ctx, h) }
