package v2http

import (
	"net/http"

	"cairn/internal/budget"
	"cairn/internal/kv"
)

// listing is what a read of a directory takes from its client's account until it has been sent.
type listing struct{ budget.Walk }

// Gather implements mvcc.Control.
func (l *listing) Gather(n int) bool { return l.Walk.Gather(int64(n)) }

// Drop implements budget.Response: the nodes are dropped with the attempt that has read them.
func (l *listing) Drop() {}

// Bytes implements budget.Response: all is gathered.
func (l *listing) Bytes() int64 { return 0 }

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
const longPartBytes = 64 << 10

// respondLong is respond for a node with very many below it, whose text is never held as a whole.
func (h *Handler) respondLong(w http.ResponseWriter, v2Index int64, at kv.ClusterTime, e *event) {
	head := w.Header()
	h.setIndexes(head, v2Index)
	head["Content-Type"] = jsonType
	w.WriteHeader(http.StatusOK)
	var failed error // the client has disconnected
	e.part = func(text []byte) []byte {
		if len(text) < longPartBytes && failed == nil {
			return text
		}
		if failed == nil {
			_, failed = w.Write(text)
		}
		return text[:0]
	}
	text := e.append(make([]byte, 0, longPartBytes+4<<10), h.wallAt(at))
	if failed == nil {
		_, _ = w.Write(text)
	}
}
