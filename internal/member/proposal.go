package member

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/invariant"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/tracing"
)

// proposal is a request that waits to be applied.
type proposal struct {
	ctx     context.Context // of the request; nil for one that never ends
	backlog *backlog
	command replica.Command
	change  *raftpb.ConfChangeV2 // of a command that changes raft's configuration
	since   time.Duration        // member's clock
	done    chan struct{}        // receives one token when result or err is set; from backlog.dones
	result  machine.Result
	err     error
	parts   *parts // nil unless the request is traced

	finished atomic.Bool
}

// received returns the channel to the pool after its token was received.
func (p *proposal) received() { p.backlog.dones.Put(p.done) }

// finish completes a proposal. Invariant: it is called once, by the code that removes the proposal
// from its queue.
func (p *proposal) finish(err error) {
	if p.finished.Swap(true) {
		invariant.Violated("a request of kind %d was completed twice: error %v, then %v", p.command.Kind, p.err, err)
	}
	p.backlog.leave(p)
	p.err = err
	p.done <- struct{}{}
}

// dropped completes a request whose context has ended, and reports whether it has. A write must not
// be executed after its client got an error.
func (p *proposal) dropped() bool {
	if p.ctx == nil || p.ctx.Err() == nil {
		return false
	}
	p.finish(p.ctx.Err())
	return true
}

// parts are the times at which the parts of a traced request began. The goroutine that owns the
// proposal sets them.
type parts struct{ submitted, proposed, committed, applied time.Time }

// record records the parts that the request has reached.
func (p *parts) record(ctx context.Context, t *tracing.Tracer) {
	if p.applied.IsZero() {
		return // lost before it was applied: the end is unknown
	}
	t.Part(ctx, "propose", p.submitted, p.proposed)
	t.Part(ctx, "raft commit", p.proposed, p.committed)
	t.Part(ctx, "apply", p.committed, p.applied)
}

// backlog counts the requests that were admitted and not yet completed.
type backlog struct {
	requests, bytes atomic.Int64
	bytesMax        int64 // set before the first request
	// pools the channels of completed proposals, to save an allocation per request
	dones sync.Pool
}

// channel returns a channel for the completion of a proposal.
func (b *backlog) channel() chan struct{} {
	if c, ok := b.dones.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// enter admits a request, unless there are too many.
func (b *backlog) enter(p *proposal) error {
	n, size := b.requests.Add(1), b.bytes.Add(int64(len(p.command.Payload)))
	if n <= backlogRequestsMax && size <= b.bytesMax {
		return nil
	}
	b.leave(p)
	return ErrTooManyRequests
}

func (b *backlog) leave(p *proposal) {
	b.requests.Add(-1)
	b.bytes.Add(-int64(len(p.command.Payload)))
}
