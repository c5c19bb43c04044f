package member

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/invariant"
	"cairn/internal/machine"
	"cairn/internal/replica"
)

// proposal is a request that waits to be applied.
type proposal struct {
	ctx     context.Context // of the request; nil for one that never ends
	backlog *backlog
	command replica.Command
	change  *raftpb.ConfChangeV2 // of a command that changes who has part in the log
	since   time.Duration        // member's clock
	done    chan struct{}        // one token when result or err is set; of backlog.dones
	result  machine.Result
	err     error

	finished atomic.Bool
}

// received gives the channel back when its token was taken.
func (p *proposal) received() { p.backlog.dones.Put(p.done) }

// finish completes a proposal. Invariant: it is called once, by the code that takes the proposal
// out of where it waits.
func (p *proposal) finish(err error) {
	if p.finished.Swap(true) {
		invariant.Violated("a request of kind %d was completed twice: error %v, then %v", p.command.Kind, p.err, err)
	}
	p.backlog.leave(p)
	p.err = err
	p.done <- struct{}{}
}

// dropped completes a request whose context has ended, and reports whether it has. The client must
// not find later that a write was executed which it gave up.
func (p *proposal) dropped() bool {
	if p.ctx == nil || p.ctx.Err() == nil {
		return false
	}
	p.finish(p.ctx.Err())
	return true
}

// backlog counts the requests that were let in and not yet answered.
type backlog struct {
	requests, bytes atomic.Int64
	// the channels of proposals that were answered: a request shall not cost one
	dones sync.Pool
}

// channel returns a channel for the answer of a proposal.
func (b *backlog) channel() chan struct{} {
	if c, ok := b.dones.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// enter lets a request in, unless there are too many.
func (b *backlog) enter(p *proposal) error {
	n, size := b.requests.Add(1), b.bytes.Add(int64(len(p.command.Payload)))
	if n <= backlogRequestsMax && size <= backlogBytesMax {
		return nil
	}
	b.leave(p)
	return ErrTooManyRequests
}

func (b *backlog) leave(p *proposal) {
	b.requests.Add(-1)
	b.bytes.Add(-int64(len(p.command.Payload)))
}

// read is a request that waits until it may read.
type read struct {
	since time.Duration
	done  chan error // holds one
}

// inbox is what has come for the raft loop. The mutex guards all of it; wake has a
// token when the raft loop's goroutine is to look.
type inbox struct {
	wake chan struct{}

	backlog backlog

	mu           sync.Mutex
	closed       bool
	proposals    []*proposal
	reads        []*read
	messages     []*raftpb.Message // of peers, and responses of the log writer
	messageBytes int               // of the entries in messages
	applied      []replica.Applied
}

// delivery is what the raft loop takes out in one turn.
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

// submit puts a request in, which came at since, for the caller to advance. Its payload
// must not change any more.
func (b *inbox) submit(ctx context.Context, kind machine.Kind, payload []byte, since time.Duration) (*proposal, error) {
	return b.submitChange(ctx, kind, payload, nil, since)
}

// submitChange is submit for a command that has raft make a change, if there is one.
func (b *inbox) submitChange(ctx context.Context, kind machine.Kind, payload []byte, change *raftpb.ConfChangeV2, since time.Duration) (*proposal, error) {
	p := &proposal{
		ctx: ctx, backlog: &b.backlog, command: replica.Command{Kind: kind, Payload: payload}, change: change,
		done: b.backlog.channel(), since: since,
	}
	if err := b.backlog.enter(p); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		b.backlog.leave(p)
		return nil, ErrStopped
	}
	b.proposals = append(b.proposals, p)
	return p, nil
}

func (b *inbox) read(r *read) error {
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return ErrStopped
	case len(b.reads) >= backlogRequestsMax:
		b.mu.Unlock()
		return ErrTooManyRequests
	}
	b.reads = append(b.reads, r)
	b.mu.Unlock()
	b.signal()
	return nil
}

// putBack puts proposals in once more that nobody could take, before those that have come since.
func (b *inbox) putBack(proposals []*proposal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		for _, p := range proposals {
			p.finish(ErrStopped)
		}
		return
	}
	b.proposals = slices.Insert(b.proposals, 0, proposals...)
}

// What may wait for the raft loop: it takes everything at each turn, so that more means that it is
// stuck.
const (
	inboxMessagesMax = 16 << 10
	inboxBytesMax    = 256 << 20
)

// receive puts a message of a peer in, for the caller to see to, unless too much waits: raft sends
// it again.
func (b *inbox) receive(m *raftpb.Message) {
	size := 0
	for _, e := range m.Entries {
		size += len(e.Data)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.messages) >= inboxMessagesMax || b.messageBytes+size > inboxBytesMax {
		return
	}
	b.messages = append(b.messages, m)
	b.messageBytes += size
}

// respond puts the responses of finished appends in, for the caller to see to.
func (b *inbox) respond(responses []*raftpb.Message) {
	b.mu.Lock()
	b.messages = append(b.messages, responses...)
	b.mu.Unlock()
}

// finish puts what has been applied in, for the caller to see to.
func (b *inbox) finish(a replica.Applied) {
	b.mu.Lock()
	b.applied = append(b.applied, a)
	b.mu.Unlock()
}

// finished reports whether something that was applied waits to be taken.
func (b *inbox) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.applied) > 0
}

// take empties the inbox into d, whose slices it reuses; proposals stay when the
// caller cannot take them now.
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

// waiting returns how many proposals the raft loop has not taken yet.
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

func (b *inbox) failAll(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, p := range b.proposals {
		p.finish(err)
	}
	for _, r := range b.reads {
		r.done <- err
	}
	b.proposals, b.reads = nil, nil
}

// workQueue holds the messages of work of one role; wake has a token when the role's
// goroutine is to look.
type workQueue struct {
	role string // its name
	wake chan struct{}

	mu     sync.Mutex
	msgs   []*raftpb.Message
	urgent bool          // one of msgs is
	since  time.Duration // when the first urgent one came
}

// put adds a message, at a time of the member's clock. One that is not urgent waits for one that
// is.
func (q *workQueue) put(m *raftpb.Message, urgent bool, now time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.msgs = append(q.msgs, m)
	if urgent && !q.urgent {
		q.urgent, q.since = true, now
	}
}

// age returns for how long urgent work has waited.
func (q *workQueue) age(now time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.urgent {
		return 0
	}
	return now - q.since
}

// idle reports whether nothing urgent waits.
func (q *workQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.urgent
}

// signal wakes the goroutine.
func (q *workQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all that has gathered, in order.
func (q *workQueue) take() []*raftpb.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.urgent = nil, false
	return msgs
}

// pendingBatches are the proposed entries whose requests wait for their results, by
// the batch number in the entry's header.
type pendingBatches struct {
	mu      sync.Mutex
	batches map[uint64]pendingBatch
	closed  error // what those get that come after failAll
}

type pendingBatch struct {
	term      uint64 // in which it was proposed
	at        time.Duration
	proposals []*proposal
}

// add notes what was proposed in a term, at a time of the member's clock. After failAll it answers
// the requests and says no.
func (p *pendingBatches) add(batch, term uint64, at time.Duration, proposals []*proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		for _, pr := range proposals {
			pr.finish(p.closed)
		}
		return false
	}
	p.batches[batch] = pendingBatch{term, at, proposals}
	return true
}

// remove returns a batch's requests, nil when nobody waits for it any more.
func (p *pendingBatches) remove(batch uint64) []*proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	proposals := p.batches[batch].proposals
	delete(p.batches, batch)
	return proposals
}

// young counts the batches that were proposed after the given time: older ones may be lost.
func (p *pendingBatches) young(after time.Duration) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if b.at > after {
			n++
		}
	}
	return n
}

// outlived fails the batches that were proposed before a term, of which an entry has been applied:
// those that its leader knew of have been applied before, and the others are lost, or as good as
// that.
func (p *pendingBatches) outlived(term uint64, err error) {
	p.drop(func(b pendingBatch) bool { return b.term < term }, err)
}

// expire fails the batches that were proposed before the given time.
func (p *pendingBatches) expire(before time.Duration, err error) {
	p.drop(func(b pendingBatch) bool { return b.proposals[len(b.proposals)-1].since < before }, err)
}

// failAll answers all requests, and those that are yet to come.
func (p *pendingBatches) failAll(err error) {
	p.mu.Lock()
	p.closed = err
	p.mu.Unlock()
	p.drop(func(pendingBatch) bool { return true }, err)
}

func (p *pendingBatches) drop(which func(pendingBatch) bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for batch, b := range p.batches {
		if which(b) {
			delete(p.batches, batch)
			for _, pr := range b.proposals {
				pr.finish(err)
			}
		}
	}
}
