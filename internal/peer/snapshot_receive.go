package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/invariant"
)

const (
	// receivingMax is the maximum number of members that send snapshots to this one at a time.
	// There is one leader, and perhaps a former one that has not noticed its replacement.
	receivingMax = 4
	// transferIDMax is the maximum length of a transfer's ID.
	transferIDMax = 64
	chunkHead     = 8   // bytes of the offset in front of the bytes of a chunk
	failureMax    = 512 // maximum size of the error text that is sent to the sender
)

// receiving is a snapshot from a peer. It outlives the connections that carry it.
type receiving struct {
	t      *Transport
	from   uint64
	id     string
	ctx    context.Context // of the handler
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the handler has returned

	changed chan struct{} // has an element when more was consumed, or the handler has returned

	mu           sync.Mutex // guards the fields below
	arrived      sync.Cond
	chunks       [][]byte // payloads of frames: an offset, and bytes
	at           int      // the handler has read chunks[0] up to here; 0: nothing
	spare        [][]byte // buffers of chunks that were read, for the next ones
	received     int64
	consumed     int64
	sum          uint32
	ended        bool // everything has arrived
	err          error
	finished     bool // the handler has returned
	result       error
	abandonTimer *time.Timer // runs while there is no connection; ends the transfer
}

// errSenderLost ends a snapshot whose sender does not reconnect.
var errSenderLost = errors.New("the sender did not reconnect")

// serveSnapshot serves one connection of a transfer, the first or one that continues it.
func (t *Transport) serveSnapshot(w http.ResponseWriter, r *http.Request, s *stream) error {
	id := r.Header.Get(headerSnapshot)
	base, err := strconv.ParseInt(r.Header.Get(headerOffset), 10, 64)
	if err != nil || base < 0 || id == "" || len(id) > transferIDMax {
		why := badRequest("want the headers " + headerSnapshot + " and " + headerOffset)
		t.refuse(w, r, why)
		return why
	}
	transfer, why := t.findTransfer(r.Context(), s.key.from, id, base)
	if why != nil {
		t.refuse(w, r, why)
		return why
	}
	have := int64(0)
	if transfer != nil {
		have = transfer.attach()
		defer transfer.detach()
	}
	w.Header().Set(headerOffset, strconv.FormatInt(have, 10))
	l, err := t.accept(w, s)
	if err != nil {
		return err
	}
	size, m, err := t.readBeginning(l, s.key.from)
	if err != nil {
		return err
	}
	if transfer == nil {
		if transfer, err = t.beginTransfer(s.key.from, id, size, m); err != nil {
			return err
		}
		transfer.attach()
		defer transfer.detach()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	t.work.Go(func() { transfer.reportProgress(ctx, l) })
	return transfer.listen(l)
}

// findTransfer returns the transfer that a connection continues; nil means that a new one may
// begin. Any other transfer of that sender is ended.
func (t *Transport) findTransfer(ctx context.Context, from uint64, id string, base int64) (*receiving, *refusal) {
	t.mu.Lock()
	old, busyCount := t.snapshots[from], len(t.snapshots)
	t.mu.Unlock()
	switch {
	case old != nil && old.id == id:
		return old, nil
	case base > 0:
		return nil, &refusal{http.StatusConflict, refusedTransfer, "unknown transfer", ""}
	case old == nil && busyCount >= receivingMax:
		return nil, busy("other members are sending snapshots")
	case old == nil:
		return nil, nil
	}
	old.cancel(errors.New("the sender has started another snapshot"))
	timer := time.NewTimer(t.cfg.Limits.ConnectTimeout / 2)
	defer timer.Stop()
	select {
	case <-old.done:
		t.forgetTransfer(old)
		return nil, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, busy("the previous snapshot is still being processed")
}

func (t *Transport) forgetTransfer(r *receiving) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshots[r.from] == r {
		delete(t.snapshots, r.from)
	}
}

// readBeginning reads the first frame of a connection of a transfer.
func (t *Transport) readBeginning(l *link, from uint64) (size int64, m *raftpb.Message, err error) {
	k, payload, borrowed, err := l.frames.next()
	if err != nil {
		return 0, nil, err
	}
	if k != kindSnapshot || len(payload) < 8 {
		return 0, nil, fmt.Errorf("%w: a snapshot begins with a frame of kind %d and %d bytes", errProtocol, k, len(payload))
	}
	size = int64(binary.BigEndian.Uint64(payload))
	if m, err = decodeMessage(payload[8:], borrowed); err != nil {
		return 0, nil, err
	}
	if m.GetType() != raftpb.MessageType_MsgSnap || m.GetFrom() != from || m.GetTo() != t.cfg.MemberID {
		return 0, nil, fmt.Errorf("%w: %v from %016x to %016x begins a snapshot", errProtocol, m.GetType(), m.GetFrom(), m.GetTo())
	}
	return size, m, nil
}

// beginTransfer starts the handler for a new snapshot.
func (t *Transport) beginTransfer(from uint64, id string, size int64, m *raftpb.Message) (*receiving, error) {
	r := &receiving{t: t, from: from, id: id, done: make(chan struct{}), changed: make(chan struct{}, 1)}
	r.arrived.L = &r.mu
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, context.Canceled
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	r.ctx, r.cancel = ctx, cancel
	t.snapshots[from] = r
	context.AfterFunc(ctx, func() { r.fail(context.Cause(ctx)) })
	t.work.Go(func() { r.handle(size, m) })
	return r, nil
}

// handle runs the handler.
func (r *receiving) handle(size int64, m *raftpb.Message) {
	start := time.Now()
	err := r.t.cfg.Handler.ReceiveSnapshot(r.ctx, m, size, r)
	if err == nil {
		err = r.atEnd()
	}
	r.mu.Lock()
	r.finished, r.result = true, err
	r.chunks, r.spare = nil, nil
	bytes := r.consumed
	r.mu.Unlock()
	// Before anyone is told of the end: the sender's report may be compared with it.
	if p := (*r.t.peers.Load())[r.from]; p != nil && err == nil {
		p.counters.snapshotsReceived.Add(1)
	}
	r.cancel(nil)
	close(r.done)
	r.change()
	log := r.t.log.With("peer_id", formatID(r.from), "index", m.GetSnapshot().GetMetadata().GetIndex(), "bytes", bytes, "took", time.Since(start))
	if err != nil {
		log.Warn("cannot receive a snapshot", "error", err)
		return
	}
	log.Info("received a snapshot")
}

// atEnd checks that the handler has received everything: it may recognize the last byte, and not
// read on.
func (r *receiving) atEnd() error {
	switch n, err := r.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("the snapshot was not read to its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// attach registers a new connection, and returns the number of received bytes.
func (r *receiving) attach() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abandonTimer != nil {
		r.abandonTimer.Stop()
		r.abandonTimer = nil
	}
	return r.received
}

// detach waits some time for the sender to reconnect. An ended transfer is remembered as long, in
// case the response was lost.
func (r *receiving) detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(r.t.cfg.Limits.SnapshotTimeout, func() {
		r.mu.Lock()
		detached := r.abandonTimer == timer
		r.mu.Unlock()
		if detached {
			r.cancel(errSenderLost)
			r.t.forgetWhenDone(r)
		}
	})
	r.abandonTimer = timer
}

// forgetWhenDone removes a transfer from the list after its handler has returned.
func (t *Transport) forgetWhenDone(r *receiving) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.work.Go(func() {
		<-r.done
		t.forgetTransfer(r)
	})
}

func (r *receiving) change() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// fail makes the handler's next read return an error.
func (r *receiving) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.arrived.Broadcast()
}

// Read returns received bytes to the handler.
func (r *receiving) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.chunks) == 0 || r.err != nil {
		switch {
		case r.err != nil:
			return 0, fmt.Errorf("receive a snapshot: %w", r.err)
		case r.ended:
			return 0, io.EOF
		}
		r.arrived.Wait()
	}
	r.at = max(r.at, chunkHead)
	n := copy(p, r.chunks[0][r.at:])
	r.at += n
	r.consumed += int64(n)
	if r.at == len(r.chunks[0]) {
		if cap(r.chunks[0]) > readBufferBytes { // smaller frames are read without a buffer of their own
			r.spare = append(r.spare, r.chunks[0])
		}
		r.chunks = slices.Delete(r.chunks, 0, 1)
		r.at = 0
		r.change() // the sender keeps whole chunks
	}
	return n, nil
}

// buffer returns a buffer of n bytes for a chunk, if possible that of one that was read.
func (r *receiving) buffer(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.spare) - 1; last >= 0 {
		buf := r.spare[last]
		r.spare = r.spare[:last]
		if cap(buf) >= n {
			return buf[:n]
		}
	}
	return make([]byte, n)
}

// reportProgress sends the handler's progress to the sender, until ctx is done.
func (r *receiving) reportProgress(ctx context.Context, l *link) {
	ticker := time.NewTicker(r.t.cfg.Limits.PingInterval)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		consumed, finished, result := r.consumed, r.finished, r.result
		r.mu.Unlock()
		var err error
		switch {
		case finished && result == nil:
			err = l.send(kindInstalled)
		case finished:
			text := result.Error()
			err = l.send(kindFailed, []byte(text[:min(len(text), failureMax)]))
		default:
			err = l.send(kindAck, binary.BigEndian.AppendUint64(nil, uint64(consumed)))
		}
		if err != nil || finished {
			// the reader detects a broken connection, and the sender closes one that it does not
			// need
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.changed:
		}
	}
}

// listen reads the frames of one connection.
func (r *receiving) listen(l *link) error {
	l.frames.buffer = r.buffer
	for {
		k, payload, borrowed, err := l.frames.next()
		if err != nil {
			return err
		}
		switch k {
		case kindAlive:
		case kindChunk:
			err = r.chunk(payload, borrowed)
		case kindEnd:
			err = r.end(payload)
		case kindFailed:
			err = fmt.Errorf("the sender cancelled: %s", payload[:min(len(payload), failureMax)])
			r.fail(err)
		default:
			err = fmt.Errorf("%w: frame of kind %d in a snapshot", errProtocol, k)
		}
		if err != nil {
			return err
		}
	}
}

// chunk stores bytes for the handler. Invariant: the stored bytes are the snapshot's from consumed
// to received. In builds with the tag invariants checkStored compares their number.
func (r *receiving) chunk(payload []byte, borrowed bool) error {
	if len(payload) <= chunkHead {
		return fmt.Errorf("%w: a chunk of %d bytes", errProtocol, len(payload))
	}
	at, data := int64(binary.BigEndian.Uint64(payload)), payload[chunkHead:]
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case at != r.received:
		return fmt.Errorf("%w: a chunk for offset %d after %d bytes", errProtocol, at, r.received)
	case r.ended:
		return fmt.Errorf("%w: a chunk behind the end", errProtocol)
	case r.received+int64(len(data))-r.consumed > windowBytes:
		return fmt.Errorf("%w: %d bytes beyond the window", errProtocol, windowBytes)
	}
	if borrowed {
		payload = bytes.Clone(payload)
	}
	r.sum = crc32.Update(r.sum, castagnoli, data)
	r.received += int64(len(data))
	if !r.finished {
		r.chunks = append(r.chunks, payload)
		if invariant.Enabled {
			r.checkStored()
		}
	}
	r.arrived.Broadcast()
	return nil
}

// checkStored checks how many bytes are stored. r.mu is held.
func (r *receiving) checkStored() {
	kept := int64(0)
	for _, data := range r.chunks {
		kept += int64(len(data) - chunkHead)
	}
	kept -= int64(max(r.at-chunkHead, 0))
	invariant.Check(kept == r.received-r.consumed, "%d bytes of a snapshot are stored, from %d to %d", kept, r.consumed, r.received)
}

// end checks that everything has arrived. A connection that was opened after the end repeats the
// frame.
func (r *receiving) end(payload []byte) error {
	if len(payload) != 12 {
		return fmt.Errorf("%w: an end of %d bytes", errProtocol, len(payload))
	}
	length, sum := int64(binary.BigEndian.Uint64(payload)), binary.BigEndian.Uint32(payload[8:])
	r.mu.Lock()
	if length == r.received && sum == r.sum {
		r.ended = true
		r.arrived.Broadcast()
		r.mu.Unlock()
		return nil
	}
	err := fmt.Errorf("%w: %d bytes with checksum %08x have arrived, of %d with %08x", errProtocol, r.received, r.sum, length, sum)
	r.mu.Unlock()
	r.fail(err)
	return err
}
