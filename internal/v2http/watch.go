package v2http

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"time"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/kv"
	"cairn/internal/v2tree"
	"cairn/internal/watch"
)

// watchTimeout limits a watch, as in etcd: its response ends without a (further) event, and clients
// watch again.
const watchTimeout = 5 * time.Minute

// watched is the target of a watch: a node and, when recursive, the nodes below it.
type watched struct {
	path      []byte
	recursive bool
	// began is the store's revision when the watch began: later events are not history. It is set
	// before any history is read.
	began int64
}

// span returns a range of keys that contains the target, and more: see wants.
func (p *watched) span() kv.KeyRange {
	switch {
	case !p.recursive:
		return kv.KeyRange{Key: p.path}
	case len(p.path) == 1:
		return kv.KeyRange{Key: p.path, End: []byte{'/' + 1}}
	default:
		return kv.KeyRange{Key: p.path, End: append(bytes.Clone(p.path), '/'+1)}
	}
}

// history returns the span for events before the watch began. It also contains the directories
// above the path, whose removal is delivered from history, as in etcd.
func (p *watched) history() kv.KeyRange {
	first := v2tree.FirstName(p.path)
	if len(first) == len(p.path) {
		return kv.KeyRange{} // only the root is above, which cannot be removed
	}
	span := p.span()
	if span.SingleKey() {
		span.End = append(bytes.Clone(p.path), 0)
	}
	return kv.KeyRange{Key: first, End: span.End}
}

// removedAbove reports whether an event of history is the end of a directory above the watched
// path, whether or not the path existed then. Unlike etcd 3.1.5 it compares whole names: the end of
// /h does not concern /hello.
func (p *watched) removedAbove(e *watch.Event) bool {
	return e.Dir && e.Type == kv.EventDelete && e.Revision() <= p.began &&
		p.path[len(e.Key)] == '/' && bytes.HasPrefix(p.path, e.Key)
}

// wants reports whether an event is delivered: nodes below a hidden name, and keys that are not
// paths of v2, are not.
func (p *watched) wants(e *watch.Event) bool {
	if e.Action == kv.ActionRefresh || len(e.Key) == 1 {
		return false
	}
	switch {
	case len(e.Key) < len(p.path):
		return p.removedAbove(e)
	case !bytes.HasPrefix(e.Key, p.path):
		return false // outside of the path, but within the range of history
	case len(e.Key) == len(p.path):
		return true
	}
	below := e.Key
	if len(p.path) > 1 {
		below = e.Key[len(p.path):]
	}
	return below[0] == '/' && !bytes.Contains(below, []byte("/_")) && v2tree.ValidPath(e.Key)
}

// watch serves a request with wait=true: the next event, or all events from now on. The headers are
// sent at once, with the index at which the watch begins.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request, t *target, q request) error {
	c, err := h.identify(r)
	if err == nil {
		err = t.permitted(c.Subject.CanRead, q.recursive)
	}
	if err != nil {
		return err
	}
	p := &poll{r: r, target: *t, caller: c, recursive: q.recursive, account: budget.FromContext(r.Context())}
	parking, parks := w.(parker)
	// A stream of events may wait for its client at each of them, so it keeps its goroutine.
	if parks = parks && !q.stream && parking.Parks(); parks {
		p.events = h.hub.NewStreamFunc(parking.Wake)
	} else {
		p.events = h.hub.NewStream()
	}
	of := &watched{path: t.path, recursive: q.recursive}
	p.eventWriter = eventWriter{h: h, w: http.NewResponseController(w), to: w, stream: q.stream}
	h.counters.Watches.Add(1)
	h.counters.Watchers.Add(1)
	spec := watch.Spec{Range: of.span(), Start: int64(min(q.waitIndex, math.MaxInt64)), Wants: of.wants}
	if spec.Start > 0 {
		spec.HistoryRange = of.history()
	}
	_, of.began = p.events.Watch(spec)
	index := of.began
	deliveries, err := p.take()
	switch {
	case err != nil:
	case !p.permitted():
		err = auth.Denied
	case len(deliveries) > 0 && deliveries[0].Compacted != 0:
		err = &v2tree.Error{
			Code: codeEventIndexCleared, Index: index,
			Cause: fmt.Sprintf("the requested history has been cleared [%d/%d]", deliveries[0].Compacted, q.waitIndex),
		}
	}
	if err != nil {
		p.release()
		p.end()
		return err
	}
	h.beginResponse(w, index)
	more := p.eventWriter.deliver(deliveries)
	p.release()
	switch p.until = time.Now().Add(watchTimeout); {
	case !more:
		p.end()
	case parks:
		p.park(parking)
	default:
		p.wait()
	}
	return nil
}

// beginResponse sends the headers of a watch.
func (h *Handler) beginResponse(w http.ResponseWriter, v2Index int64) {
	h.setIndexes(w.Header(), v2Index)
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(http.StatusOK)
	// an error means that the client has disconnected, which ends the request's context
	_ = http.NewResponseController(w).Flush()
}

// eventWriter writes the events of one watch.
type eventWriter struct {
	h      *Handler
	w      *http.ResponseController
	to     http.ResponseWriter
	stream bool
	last   *watch.Event // written last
}

// deliver sends events, and reports whether there may be more. All of them are sent together: when
// thousands of streams get the same events, each has some dozens of them in its turn, and a write
// for each event would be most of the work.
func (t *eventWriter) deliver(deliveries []watch.Delivery) (more bool) {
	more, sent := t.writeAll(deliveries)
	if more && sent && t.stream {
		// The one event of a long poll is sent with the end of the response, in one system call.
		return t.w.Flush() == nil
	}
	return more
}

// writeAll is deliver without sending what it has written.
func (t *eventWriter) writeAll(deliveries []watch.Delivery) (more, some bool) {
	for _, d := range deliveries {
		if d.Compacted != 0 {
			return false, some
		}
		for _, e := range d.Events {
			// A change of a directory is one event of v2, whatever it has changed for v3.
			if e.First != nil {
				e = e.First
			}
			if e == t.last {
				continue
			}
			sent, err := t.write(e)
			if err != nil {
				return false, some
			}
			if !sent {
				continue
			}
			some = true
			if t.last = e; !t.stream {
				return false, some
			}
		}
	}
	return true, some
}

// hidden reports whether an event is of a key that is invisible in v2, because v2 shows a directory
// of that path. Only v3 writes such keys. The tree is read as it is when the event is first
// delivered: if it has changed since the key was written, the client may get the event of a key
// that is hidden by now, or miss that of one that is visible by now, as if it had watched a moment
// earlier or later.
func (h *Handler) hidden(e *watch.Event) bool {
	if e.Dir || e.Action != kv.ActionNone {
		return false
	}
	hides, err := v2tree.Hides(h.b.Read(), e.Key)
	return err == nil && hides // the same error fails the client's next request
}

// write writes an event unless it is hidden. An error means that the client did not accept it.
func (t *eventWriter) write(e *watch.Event) (sent bool, err error) {
	if lasting(e) {
		if text := e.Wire(watch.WireV2, t.h.appendLasting); len(text) > 0 {
			return true, t.send(text)
		}
		return false, nil
	}
	if t.h.hidden(e) {
		return false, nil
	}
	buf := bodies.Get().(*[]byte)
	now := t.h.b.Now()
	body := parts{send: t.send}
	*buf = body.rest(appendChange((*buf)[:0], e, t.h.wallAt(now), now, body.part))
	if cap(*buf) <= bodyKeptBytes {
		bodies.Put(buf)
	}
	return true, body.failed
}

// lasting reports whether an event's text does not depend on when it is sent, and is short enough
// to be cached, so that thousands of watchers of the event share the text. It depends on the time
// if it has a TTL.
func lasting(e *watch.Event) bool {
	return e.Record.Deadline == 0 && e.Prev.Deadline == 0 &&
		len(e.Record.Value)+len(e.Prev.Value)+2*len(e.Key) < watch.WireBytesMax
}

// appendLasting appends the text of a lasting event, and nothing if it is hidden.
func (h *Handler) appendLasting(dst []byte, e *watch.Event) []byte {
	if h.hidden(e) {
		return dst
	}
	return appendChange(dst, e, time.Time{}, 0, nil)
}

// send writes text of an event. The server limits how long a client may leave it unread, and sets a
// deadline only when a write has to wait: two deadlines for each event were a sixth of the work of
// thousands of streams.
func (t *eventWriter) send(text []byte) error {
	_, err := t.to.Write(text)
	return err
}

// appendChange appends an event in the form of its command's response. wall and now are the same
// moment. part may be nil, see event.part.
func appendChange(dst []byte, e *watch.Event, wall time.Time, now kv.ClusterTime, part func(text []byte) []byte) []byte {
	action := e.Action.String()
	switch {
	case e.Action != kv.ActionNone:
	case e.Type == kv.EventPut:
		action = kv.ActionSet.String()
	default:
		action = kv.ActionDelete.String()
	}
	dst = append(append(dst, `{"action":"`...), action...)
	dst = append(dst, `","node":`...)
	node := v2tree.Node{Key: e.Key, Modified: e.Revision(), Created: e.Prev.CreateRevision}
	if e.Type == kv.EventPut {
		node = changedNode(e, &e.Record, e.Dir)
	} else {
		node.Dir = e.Dir && e.Action != kv.ActionExpire // etcd omits it for expiries
	}
	dst = appendChanged(dst, &node, wall, now, e.Record.Deadline, part)
	if !e.Prev.Mod.IsZero() && !e.Prev.Deleted && !e.PrevGone {
		// A directory in place of nothing, or of a key, is not an update of a directory.
		wasDir := e.Dir && (e.Type == kv.EventDelete || e.Action == kv.ActionUpdate)
		prev := changedNode(e, &e.Prev, wasDir)
		dst = append(dst, `,"prevNode":`...)
		dst = appendChanged(dst, &prev, wall, now, e.Prev.Deadline, part)
	}
	return append(dst, "}\n"...)
}

func changedNode(e *watch.Event, rec *kv.Record, dir bool) v2tree.Node {
	return v2tree.Node{
		Key: e.Key, Dir: dir, HasValue: !dir, Value: rec.Value, Modified: rec.Mod.Main, Created: rec.CreateRevision,
	}
}

// appendChanged appends a node with its deadline. A deadline that has passed is written as an
// expiration without a TTL.
func appendChanged(dst []byte, n *v2tree.Node, wall time.Time, now, deadline kv.ClusterTime, part func(text []byte) []byte) []byte {
	if deadline == 0 {
		return appendNode(dst, n, wall, part)
	}
	n.Expires, n.Left = true, time.Duration(deadline-now)
	if n.Left < 0 {
		wall, n.Left = wall.Add(n.Left), 0
	}
	return appendNode(dst, n, wall, part)
}
