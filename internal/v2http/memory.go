package v2http

import (
	"context"
	"net/http"

	"cairn/internal/budget"
	"cairn/internal/kv"
	"cairn/internal/v2tree"
)

// listing is what a read takes from its client's account until its response has been sent.
type listing struct {
	budget.Walk
	node *v2tree.Node // what it has read
}

// Gather implements mvcc.Control.
func (l *listing) Gather(n int) bool { return l.Walk.Gather(int64(n)) }

// Drop implements budget.Response.
func (l *listing) Drop() {
	*l.node = v2tree.Node{}
	l.ReleaseAll()
}

// Bytes implements budget.Response: the nodes in a directory are gathered, a key's value is not.
func (l *listing) Bytes() int64 { return valueMemory(l.node) }

// valueMemory returns how much memory a node's value takes until it has been sent: itself, and its
// text or a part of that.
func valueMemory(n *v2tree.Node) int64 {
	bytes := int64(len(n.Value))
	return bytes + min(2*bytes, 2*longPartBytes)
}

// valueFreeBytes is the size up to which a previous value in the response to a write does not
// count.
const valueFreeBytes = 4 << 10

// takePrevious takes memory for the previous value in the response to a write, which has been
// applied and so cannot wait. When the client already has more than its share, because it does not
// read, the client is left in doubt, as after a time-out. The caller must give the memory back.
func takePrevious(account *budget.Account, prev *v2tree.Node) (taken int64, err error) {
	if prev == nil || len(prev.Value) <= valueFreeBytes {
		return 0, nil
	}
	taken = valueMemory(prev)
	if !account.TryTake(taken) {
		return 0, context.DeadlineExceeded
	}
	return taken, nil
}

// bodyMemory is what a request's form takes from its client's account while it is served. nil has
// no limit.
type bodyMemory struct {
	account *budget.Account
	taken   int64
}

const (
	// bodyFreeBytes is the size up to which a form does not count.
	bodyFreeBytes = 16 << 10
	// bodyFactor is how many bytes are taken for each byte of the buffer that a form is read into:
	// for the buffer, its text, the parameters and the command that is made of them.
	bodyFactor = 4
)

// take takes what a buffer of size bytes needs in all. It reports false when that cannot be had.
func (m *bodyMemory) take(size int) bool {
	if m == nil {
		return true
	}
	need := int64(size)*bodyFactor - m.taken
	if size <= bodyFreeBytes || need <= 0 {
		return true
	}
	if !m.account.TryTake(need) {
		return false
	}
	m.taken += need
	return true
}

func (m *bodyMemory) give() { m.account.Give(m.taken) }

// longPartBytes is how much of a long body is encoded before it is sent.
const longPartBytes = 16 << 10

// parts sends a long body in parts, so that its text is never held as a whole.
type parts struct {
	send   func(text []byte) error
	failed error // the client has disconnected
}

func partsTo(w http.ResponseWriter) *parts {
	return &parts{send: func(text []byte) error {
		_, err := w.Write(text)
		return err
	}}
}

// part is given the text so far, and returns what is left of it.
func (p *parts) part(text []byte) []byte {
	if len(text) < longPartBytes && p.failed == nil {
		return text
	}
	return p.rest(text)
}

// rest sends all of the text.
func (p *parts) rest(text []byte) []byte {
	if p.failed == nil {
		p.failed = p.send(text)
	}
	return text[:0]
}

// respondLong is respond for a long value, or for a node with very many below it.
func (h *Handler) respondLong(w http.ResponseWriter, status int, v2Index int64, at kv.ClusterTime, e *event) {
	head := w.Header()
	h.setIndexes(head, v2Index)
	head["Content-Type"] = jsonType
	w.WriteHeader(status)
	body := partsTo(w)
	e.part = body.part
	body.rest(e.append(make([]byte, 0, longPartBytes+4<<10), h.wallAt(at)))
}
