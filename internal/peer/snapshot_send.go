package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	chunkBytesMax = 256 << 10
	chunkBytesMin = 4 << 10
	// windowBytes is the maximum number of bytes that the receiver has not consumed yet. The sender
	// keeps them, to send them again.
	windowBytes = 4 << 20
)

// sending is a snapshot that is sent to a peer. Its source is read once: bytes that a broken
// connection may have lost are still in the window.
type sending struct {
	p      *peer
	m      *raftpb.Message
	size   int64
	source io.Reader
	id     string // identifies the transfer to the receiver
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // has an element when the receiver has consumed bytes, or responded

	// Fields of the sending goroutine.
	read    int64 // from the source; changed under mu
	sum     uint32
	drained bool // the source is at its end
	nextAt  time.Time
	spare   [][]byte // buffers of consumed chunks, for the next ones; changed under mu

	mu        sync.Mutex // guards the fields below
	window    []chunk
	consumed  int64
	progress  time.Time // when the receiver last sent something
	responded bool
	response  error
}

type chunk struct {
	at   int64
	data []byte
}

// SendSnapshot begins to send a snapshot: the MsgSnap m, and the bytes of r, size many (negative:
// unknown). It returns at once; SnapshotSent reports the result. r is read once from its beginning
// to its end, at the pace of the peer, and closed in any case. A connection that breaks is
// re-established, and the transfer continues where it was. At most one is in progress to each peer:
// the next one ends it.
func (t *Transport) SendSnapshot(m *raftpb.Message, size int64, r io.ReadCloser) {
	t.mu.Lock()
	p := (*t.peers.Load())[m.GetTo()]
	if t.closed || p == nil {
		closed := t.closed
		if !closed {
			t.work.Go(func() { t.cfg.Handler.SnapshotSent(m.GetTo(), false) })
		}
		t.mu.Unlock()
		_ = r.Close() // nothing was read, and an error has no reader
		return
	}
	defer t.mu.Unlock()
	s := &sending{
		p: p, m: m, size: size, source: r, id: fmt.Sprintf("%016x", rand.Uint64()),
		wake: make(chan struct{}, 1), progress: time.Now(),
	}
	s.ctx, s.cancel = context.WithCancel(p.ctx)
	p.mu.Lock()
	before := p.transfer
	p.transfer = s
	p.mu.Unlock()
	if before != nil {
		before.cancel()
	}
	t.work.Go(func() { s.run(r) })
}

// reportSnapshot reports to the handler a snapshot that never began.
func (p *peer) reportSnapshot(ok bool) {
	p.counters.snapshotsFailed.Add(1)
	select {
	case p.snapshots <- ok:
	default: // raft has one in progress at a time; the earlier reports are still queued
	}
}

// fatal is an error that a new connection cannot fix.
type fatal struct{ err error }

func (f *fatal) Error() string { return f.err.Error() }
func (f *fatal) Unwrap() error { return f.err }

// run sends, and reports the result.
func (s *sending) run(source io.Closer) {
	start := time.Now()
	err := s.send()
	s.cancel()
	if closeErr := source.Close(); err == nil && closeErr != nil {
		s.p.log.Warn("cannot close the source of a snapshot", "error", closeErr)
	}
	if s.p.t.ctx.Err() != nil {
		return
	}
	if err == nil {
		s.p.counters.snapshotsSent.Add(1)
		s.p.log.Info("sent a snapshot", "index", s.m.GetSnapshot().GetMetadata().GetIndex(), "bytes", s.read, "took", time.Since(start))
	} else {
		s.p.counters.snapshotsFailed.Add(1)
		s.p.log.Warn("cannot send a snapshot", "index", s.m.GetSnapshot().GetMetadata().GetIndex(), "bytes", s.read, "error", err)
	}
	s.p.t.cfg.Handler.SnapshotSent(s.p.id, err == nil)
}

// send opens connections until the receiver has responded, or the transfer has failed.
func (s *sending) send() error {
	limit := s.p.t.cfg.Limits.SnapshotTimeout
	for failures := 1; ; failures++ {
		err := s.attempt()
		if err == nil {
			return nil
		}
		if s.ctx.Err() != nil {
			return errors.New("cancelled: the peer was removed, or a newer snapshot replaces this one")
		}
		if stop := (*fatal)(nil); errors.As(err, &stop) {
			return stop.err
		}
		s.mu.Lock()
		silent := time.Since(s.progress)
		s.mu.Unlock()
		if silent > limit {
			return fmt.Errorf("no progress for %v: %w", limit, err)
		}
		timer := time.NewTimer(s.p.t.backoff(failures))
		select {
		case <-s.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt sends over one connection. The error is nil when the receiver has the snapshot.
func (s *sending) attempt() error {
	s.mu.Lock()
	base := s.consumed
	s.mu.Unlock()
	l, head, _, err := s.p.connect(s.ctx, func(h http.Header) {
		h.Set(headerLane, laneSnapshot)
		h.Set(headerSnapshot, s.id)
		h.Set(headerOffset, strconv.FormatInt(base, 10))
	})
	if err != nil {
		why := (*refusal)(nil)
		if errors.As(err, &why) && why.Code != refusedBusy {
			return &fatal{err}
		}
		return err
	}
	defer func() { _ = l.conn.Close() }()
	at, err := strconv.ParseInt(head.Get(headerOffset), 10, 64)
	if err != nil || at < base || at > s.read {
		return &fatal{fmt.Errorf("the peer claims to have %q bytes, of %d to %d", shorten(head.Get(headerOffset)), base, s.read)}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	helpers.Go(func() {
		defer cancel()
		s.listen(l)
	})
	helpers.Go(func() { l.beat(ctx, s.p.t.cfg.Limits.PingInterval, l.alive) })
	err = s.stream(ctx, l, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.responded {
		if s.response != nil {
			return &fatal{s.response}
		}
		return nil
	}
	return err
}

// listen reads the receiver's frames until the connection ends.
func (s *sending) listen(l *link) {
	for {
		k, payload, _, err := l.frames.next()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.progress = time.Now()
		switch k {
		case kindAck:
			if len(payload) == 8 {
				s.consumeLocked(int64(binary.BigEndian.Uint64(payload)))
			}
		case kindInstalled:
			s.responded = true
		case kindFailed:
			s.responded, s.response = true, fmt.Errorf("the peer responds: %s", payload)
		}
		responded := s.responded
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
		if responded {
			return
		}
	}
}

func (s *sending) consumeLocked(to int64) {
	if to > s.read {
		return // the receiver is inconsistent; the transfer will time out
	}
	n := 0
	for n < len(s.window) && s.window[n].at+int64(len(s.window[n].data)) <= to {
		n++
	}
	for i := range s.window[:n] {
		s.spare = append(s.spare, s.window[i].data[:0])
	}
	s.window = slices.Delete(s.window, 0, n)
	s.consumed = max(s.consumed, to)
}

// stream writes from an offset on, until the connection's ctx is done.
func (s *sending) stream(ctx context.Context, l *link, at int64) error {
	message, err := proto.Marshal(s.m)
	if err != nil {
		return &fatal{fmt.Errorf("encode a snapshot message: %w", err)}
	}
	if 8+len(message) > smallPayloadMax {
		return &fatal{fmt.Errorf("the snapshot's message has %d bytes, more than %d: its data belong in the stream", len(message), smallPayloadMax)}
	}
	if err := l.send(kindSnapshot, binary.BigEndian.AppendUint64(nil, uint64(s.size)), message); err != nil {
		return err
	}
	for ended := false; ; {
		data, err := s.next(at)
		switch {
		case err != nil:
			// without it the receiver would wait until its timeout
			_ = l.send(kindFailed, []byte("the sender cannot read it"))
			return &fatal{err}
		case len(data) > 0:
			if err := s.pace(ctx, len(data)); err != nil {
				return err
			}
			if err := l.send(kindChunk, binary.BigEndian.AppendUint64(nil, uint64(at)), data); err != nil {
				return err
			}
			at += int64(len(data))
			s.p.counters.sentBytes.Add(uint64(frameHead + 8 + len(data)))
			continue
		case s.drained && at == s.read && !ended:
			end := binary.BigEndian.AppendUint64(nil, uint64(s.read))
			if err := l.send(kindEnd, binary.BigEndian.AppendUint32(end, s.sum)); err != nil {
				return err
			}
			ended = true
		}
		select {
		case <-ctx.Done():
			return errors.New("the connection broke")
		case <-s.wake:
		}
	}
}

// next returns bytes from an offset on: from the window, or from the source when there is space in
// the window. If it returns none, the caller must call again when the receiver has consumed some.
func (s *sending) next(at int64) ([]byte, error) {
	s.mu.Lock()
	for _, c := range s.window {
		if end := c.at + int64(len(c.data)); at < end {
			s.mu.Unlock()
			return c.data[at-c.at:], nil
		}
	}
	room := s.read-s.consumed+chunkBytesMax <= windowBytes
	s.mu.Unlock()
	if !room || s.drained {
		return nil, nil
	}
	buf := s.buffer(s.chunkBytes())
	n, err := io.ReadFull(s.source, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		s.drained = true
	case err != nil:
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	if s.drained && s.size >= 0 && s.read+int64(n) != s.size {
		return nil, fmt.Errorf("read the snapshot: it ends after %d bytes, not %d", s.read+int64(n), s.size)
	}
	buf = buf[:n]
	s.sum = crc32.Update(s.sum, castagnoli, buf)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		s.window = append(s.window, chunk{s.read, buf})
	}
	s.read += int64(n)
	return buf, nil
}

// buffer returns a buffer of n bytes for a chunk, if possible that of a consumed one. The sending
// goroutine calls it between two writes, so that no write uses that buffer, whatever the receiver
// has acknowledged.
func (s *sending) buffer(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.spare) - 1; last >= 0 {
		buf := s.spare[last]
		s.spare = s.spare[:last]
		if cap(buf) >= n {
			return buf[:n]
		}
	}
	return make([]byte, n)
}

// chunkBytes is small where the rate is low, to avoid bursts on the link.
func (s *sending) chunkBytes() int {
	rate := s.p.t.cfg.Limits.SnapshotBytesPerSecond
	if rate <= 0 {
		return chunkBytesMax
	}
	return int(min(max(rate/16, chunkBytesMin), chunkBytesMax))
}

// pace waits until n bytes may be sent.
func (s *sending) pace(ctx context.Context, n int) error {
	rate := s.p.t.cfg.Limits.SnapshotBytesPerSecond
	if rate <= 0 {
		return nil
	}
	now := time.Now()
	if s.nextAt.Before(now) {
		s.nextAt = now
	}
	wait := s.nextAt.Sub(now)
	s.nextAt = s.nextAt.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return errors.New("the connection broke")
	case <-timer.C:
		return nil
	}
}
