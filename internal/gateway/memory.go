package gateway

import (
	"context"
	"io"
	"time"

	"cairn/internal/budget"
)

const (
	// requestFactor is how many bytes a request takes for each byte of its JSON: the text, which
	// the decoder's buffer may hold twice, the message, and the copy that its handler decodes.
	requestFactor = 4
	// responseFactor is how many bytes a response without pieces takes for each byte of its
	// encoding: the encoding, the message, its text, whose bytes are in base64, and a copy of that.
	responseFactor = 5
	// freeBytes is the size up to which requests and responses do not count.
	freeBytes = 4 << 10
	// sendWaitMax limits how long a message of a stream waits for memory. Its handler holds memory
	// meanwhile, so that streams could wait for one another without end.
	sendWaitMax = 10 * time.Second
)

// chargedReader takes memory for a request as it is read, or returns budget.ErrExhausted.
type chargedReader struct {
	body io.Reader
	hold *budget.Hold
	read int64
	paid int64
}

// Read implements io.Reader.
func (r *chargedReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.read += int64(n)
	if r.read > freeBytes && r.read > r.paid {
		step := max(r.read-r.paid, r.paid, 16<<10)
		if !r.hold.TryTake(step * requestFactor) {
			return 0, budget.ErrExhausted
		}
		r.paid += step
	}
	return n, err
}

// reset gives back what was taken for a message.
func (r *chargedReader) reset() {
	r.read, r.paid = 0, 0
	r.hold.GiveTaken()
}

// takeSend takes what a message of n bytes takes until it has been sent. The caller must give it
// back.
func takeSend(ctx context.Context, n int) (taken int64, err error) {
	if n <= freeBytes {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendWaitMax)
	defer cancel()
	taken = int64(n) * responseFactor
	if err := budget.FromContext(ctx).Take(ctx, taken); err != nil {
		return 0, err
	}
	return taken, nil
}
