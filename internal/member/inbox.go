package member

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/tracing"
)

// read is a linearizable read that waits for its confirmation.
type read struct {
	since time.Duration
	done  chan error // receives the result, once
}

// inbox is the input queue of the raft loop. The mutex guards all of it; wake has a token when the
// raft loop's goroutine should check it.
type inbox struct {
	wake   chan struct{}
	tracer *tracing.Tracer

	backlog backlog

	mu           sync.Mutex
	closed       error // of requests that are added later; nil while the inbox is open
	proposals    []*proposal
	reads        []*read
	messages     []*raftpb.Message // from peers, and responses of the log writer
	messageBytes int               // of the entries in messages
	applied      []replica.Applied
}

// delivery is what the raft loop takes from the inbox in one turn.
type delivery struct {
	proposals []*proposal
	reads     []*read
	messages  []*raftpb.Message
	applied   []replica.Applied
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// submit adds a request, which arrived at since; the caller must then call advance. Its payload
// must not change afterwards.
func (b *inbox) submit(ctx context.Context, kind machine.Kind, payload []byte, since time.Duration) (*proposal, error) {
	return b.submitChange(ctx, kind, payload, nil, since)
}

// submitChange is submit for a command with a configuration change of raft, if there is one.
func (b *inbox) submitChange(ctx context.Context, kind machine.Kind, payload []byte, change *raftpb.ConfChangeV2, since time.Duration) (*proposal, error) {
	p := &proposal{
		ctx: ctx, backlog: &b.backlog, command: replica.Command{Kind: kind, Payload: payload}, change: change,
		done: b.backlog.channel(), since: since,
	}
	if b.tracer.Records(ctx) {
		p.parts = &parts{submitted: time.Now()}
	}
	if err := b.backlog.enter(p); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		b.backlog.leave(p)
		return nil, b.closed
	}
	b.proposals = append(b.proposals, p)
	return p, nil
}

func (b *inbox) read(r *read) error {
	b.mu.Lock()
	switch {
	case b.closed != nil:
		err := b.closed
		b.mu.Unlock()
		return err
	case len(b.reads) >= backlogRequestsMax:
		b.mu.Unlock()
		return ErrTooManyRequests
	}
	b.reads = append(b.reads, r)
	b.mu.Unlock()
	b.signal()
	return nil
}

// putBack returns proposals that could not be proposed to the front of the queue.
func (b *inbox) putBack(proposals []*proposal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		for _, p := range proposals {
			p.finish(b.closed)
		}
		return
	}
	b.proposals = slices.Insert(b.proposals, 0, proposals...)
}

// Limits of the messages that wait for the raft loop: it takes everything at each turn, so reaching
// a limit means that it is stuck.
const (
	inboxMessagesMax = 16 << 10
	inboxBytesMax    = 256 << 20
)

// receive adds a message of a peer, unless the queue is full: raft sends it again. The caller must
// then run the raft loop.
func (b *inbox) receive(m *raftpb.Message) {
	size := 0
	for _, e := range m.Entries {
		size += len(e.Data)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil || len(b.messages) >= inboxMessagesMax || b.messageBytes+size > inboxBytesMax {
		return
	}
	b.messages = append(b.messages, m)
	b.messageBytes += size
}

// respond adds the responses of finished appends. The caller must then run the raft loop.
func (b *inbox) respond(responses []*raftpb.Message) {
	b.mu.Lock()
	b.messages = append(b.messages, responses...)
	b.mu.Unlock()
}

// finish adds the result of applying entries. The caller must then run the raft loop.
func (b *inbox) finish(a replica.Applied) {
	b.mu.Lock()
	b.applied = append(b.applied, a)
	b.mu.Unlock()
}

// finished reports whether results of applying wait to be taken.
func (b *inbox) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.applied) > 0
}

// take moves the inbox into d, whose slices it reuses; proposals stay when the caller cannot take
// them now.
func (b *inbox) take(d *delivery, proposals bool) {
	b.mu.Lock()
	d.reads, b.reads = b.reads, d.reads[:0]
	d.messages, b.messages, b.messageBytes = b.messages, d.messages[:0], 0
	d.applied, b.applied = b.applied, d.applied[:0]
	if proposals {
		d.proposals, b.proposals = b.proposals, d.proposals[:0]
	} else {
		d.proposals = d.proposals[:0]
	}
	b.mu.Unlock()
}

// waiting returns the number of proposals that the raft loop has not taken yet.
func (b *inbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.proposals)
}

// expire fails the requests that have waited since before the given time, and drops those whose
// context has ended.
func (b *inbox) expire(before time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proposals = slices.DeleteFunc(b.proposals, func(p *proposal) bool {
		if p.since < before {
			p.finish(err)
			return true
		}
		return p.dropped()
	})
}

// close fails all requests, and those that are added later.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		b.closed = err
	}
	for _, p := range b.proposals {
		p.finish(err)
	}
	for _, r := range b.reads {
		r.done <- err
	}
	b.proposals, b.reads = nil, nil
}
