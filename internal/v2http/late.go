package v2http

import (
	"context"
	"time"
)

// lateContext is the context of a request that waits for the log. It does not watch the client,
// which costs a goroutine over HTTP/1: it has no Done channel, and only a request that waits for
// long is asked, by Err, whether its client has disconnected. Such a request is dropped where it
// waits, so that a write is not executed after its client has given it up.
type lateContext struct {
	context.Context
	began time.Time
}

// lateAfter is above what nearly every request takes.
const lateAfter = 100 * time.Millisecond

// Done implements context.Context.
func (*lateContext) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (c *lateContext) Err() error {
	if time.Since(c.began) < lateAfter {
		return nil
	}
	return c.Context.Err()
}
