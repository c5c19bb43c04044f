package budget

import (
	"context"
	"sync"
)

// Hold is what a request keeps of its account until its response has been sent in a form that takes
// more memory than its encoding, such as JSON. Reads of the request take factor times their bytes
// (Walk), and leave that to the Hold when they have been encoded.
//
// Its methods may be called from any goroutine.
type Hold struct {
	account *Account
	factor  int64

	mu        sync.Mutex // guards the fields below
	responses int64
	others    int64
	closed    bool
}

type holdKey struct{}

// WithHold returns a context whose reads leave what they take to the returned Hold, which must be
// closed.
func WithHold(ctx context.Context, factor int64) (context.Context, *Hold) {
	h := &Hold{account: FromContext(ctx), factor: factor}
	if h.account == nil {
		return ctx, h
	}
	return context.WithValue(ctx, holdKey{}, h), h
}

// holdOf returns the Hold of a request, or nil.
func holdOf(ctx context.Context) *Hold {
	h, _ := ctx.Value(holdKey{}).(*Hold)
	return h
}

// leave takes over n bytes that were taken for a response.
func (h *Hold) leave(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		h.account.GiveResponse(n)
		return
	}
	h.responses += n
}

// Responses returns how many bytes reads have left.
func (h *Hold) Responses() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.responses
}

// TryTake takes n bytes more.
func (h *Hold) TryTake(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !h.account.TryTake(n) {
		return false
	}
	h.others += n
	return true
}

// GiveTaken gives back what TryTake took.
func (h *Hold) GiveTaken() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.account.Give(h.others)
	h.others = 0
}

// GiveResponses gives back what reads have left.
func (h *Hold) GiveResponses() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.account.GiveResponse(h.responses)
	h.responses = 0
}

// Close gives back everything.
func (h *Hold) Close() {
	h.GiveTaken()
	h.GiveResponses()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
