package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// streamKey identifies a stream of a member. There is at most one stream per key: a member that
// opens a second one has lost the first, even if this member has not noticed yet.
type streamKey struct {
	from uint64
	lane string
}

// stream is a stream that a peer has opened.
type stream struct {
	key    streamKey
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// serveStream serves the request for a stream, and reads the stream to its end.
func (t *Transport) serveStream(w http.ResponseWriter, r *http.Request) {
	from, why := t.checkHead(w, r)
	lane := r.Header.Get(headerLane)
	if why == nil {
		switch {
		case r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), upgradeProtocol):
			why = badRequest("want a GET request with the header Upgrade: " + upgradeProtocol)
		case lane != laneControl && lane != laneAppend && lane != laneSnapshot:
			why = badRequest(fmt.Sprintf("unknown lane %q", shorten(lane)))
		}
	}
	if why != nil {
		t.refuse(w, r, why)
		return
	}
	s, why := t.admit(r.Context(), streamKey{from, lane})
	if why != nil {
		t.refuse(w, r, why)
		return
	}
	defer t.release(s)
	t.refused.clear(formatID(from))
	var err error
	if lane == laneSnapshot {
		err = t.serveSnapshot(w, r, s)
	} else {
		err = t.serveLane(w, r, s)
	}
	t.ended(s, err)
}

// ended logs the end of a stream if the error indicates a fault of the sender.
func (t *Transport) ended(s *stream, err error) {
	if why := (*refusal)(nil); err == nil || errors.As(err, &why) || s.ctx.Err() != nil {
		return
	}
	if errors.Is(err, errFrame) || errors.Is(err, errMessage) || errors.Is(err, errProtocol) {
		if t.refused.first(formatID(s.key.from), s.key.lane) {
			t.log.Error("closed the stream of a peer", "peer_id", formatID(s.key.from), "lane", s.key.lane, "error", err)
		}
		return
	}
	t.log.Debug("the stream of a peer ended", "peer_id", formatID(s.key.from), "lane", s.key.lane, "error", err)
}

// admit registers a stream, after the end of the stream that it replaces, so that the messages of a
// lane never overtake each other.
func (t *Transport) admit(ctx context.Context, key streamKey) (*stream, *refusal) {
	timer := time.NewTimer(t.cfg.Limits.ConnectTimeout / 2)
	defer timer.Stop()
	for {
		t.mu.Lock()
		old := t.streams[key]
		switch {
		case t.closed:
			t.mu.Unlock()
			return nil, busy("this member is stopping")
		case old == nil && len(t.streams) >= t.cfg.Limits.StreamsMax:
			t.mu.Unlock()
			return nil, busy(fmt.Sprintf("this member serves %d streams already", t.cfg.Limits.StreamsMax))
		case old == nil:
			s := &stream{key: key, done: make(chan struct{})}
			s.ctx, s.cancel = context.WithCancel(t.ctx)
			t.streams[key] = s
			t.work.Add(1)
			t.mu.Unlock()
			return s, nil
		}
		t.mu.Unlock()
		old.cancel()
		select {
		case <-old.done:
		case <-timer.C:
			return nil, busy("the stream that this one replaces has not ended yet")
		case <-ctx.Done():
			return nil, busy("the sender closed the connection")
		}
	}
}

func (t *Transport) release(s *stream) {
	s.cancel()
	t.mu.Lock()
	delete(t.streams, s.key)
	t.mu.Unlock()
	close(s.done)
	t.work.Done()
}

// accept turns the request into a link, whose connection is closed when the stream's ctx is done.
func (t *Transport) accept(w http.ResponseWriter, s *stream) (*link, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		why := badRequest("streams require HTTP/1.1")
		why.write(w)
		return nil, fmt.Errorf("hijack the connection: %w", err)
	}
	context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	if rw.Reader.Buffered() > 0 {
		return nil, fmt.Errorf("%w: data before the response to the handshake", errProtocol)
	}
	if err := t.sendUpgrade(conn, w.Header()); err != nil {
		return nil, fmt.Errorf("respond to a handshake: %w", err)
	}
	l := newLink(conn, readTimeoutConn{conn, t.cfg.Limits.DeadAfter}, t.cfg.Limits.WriteTimeout, t.payloadMax(s.key.lane))
	l.tightWriteDeadline = true
	if p := (*t.peers.Load())[s.key.from]; p != nil {
		p.kick()
	}
	return l, nil
}

// smallPayloadMax is the maximum payload of a frame on the control lane, and in a snapshot, whose
// chunks are smaller.
const smallPayloadMax = 1 << 20

// payloadMax returns the maximum payload of a frame in a lane.
func (t *Transport) payloadMax(lane string) int {
	if lane == laneAppend {
		return t.cfg.Limits.MessageBytesMax
	}
	return smallPayloadMax
}

func (t *Transport) sendUpgrade(conn net.Conn, h http.Header) error {
	if err := conn.SetDeadline(time.Now().Add(t.cfg.Limits.ConnectTimeout)); err != nil {
		return err
	}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", upgradeProtocol)
	var head strings.Builder
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := h.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(conn, head.String()); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// errProtocol is wrapped by the errors about intact frames that must not occur at their position.
var errProtocol = errors.New("protocol violation")

// serveLane passes the messages of a lane to the handler.
func (t *Transport) serveLane(w http.ResponseWriter, _ *http.Request, s *stream) error {
	l, err := t.accept(w, s)
	if err != nil {
		return err
	}
	t.work.Go(func() { l.beat(s.ctx, t.cfg.Limits.PingInterval, l.alive) })
	for {
		k, payload, borrowed, err := l.frames.next()
		if err != nil {
			return err
		}
		switch k {
		case kindMessage:
			m, err := decodeMessage(payload, borrowed)
			if err != nil {
				return err
			}
			if err := t.checkOrigin(s.key.from, m); err != nil {
				return err
			}
			t.countReceived(s.key.from, frameHead+len(payload))
			t.cfg.Handler.Receive(s.ctx, m)
		case kindPing:
			if len(payload) != 8 {
				return fmt.Errorf("%w: a ping of %d bytes", errProtocol, len(payload))
			}
			if err := l.send(kindPong, payload); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: frame of kind %d on the %s lane", errProtocol, k, s.key.lane)
		}
	}
}

func (t *Transport) countReceived(from uint64, bytes int) {
	if p := (*t.peers.Load())[from]; p != nil {
		p.counters.receivedMessages.Add(1)
		p.counters.receivedBytes.Add(uint64(bytes))
	}
}

// numberMax is the maximum of terms and indexes: no cluster reaches it, and raft can add to it
// without an overflow.
const numberMax = 1 << 62

// checkNumbers refuses terms, indexes and entries that no member can have.
func checkNumbers(m *raftpb.Message) error {
	forwarded := m.GetType() == raftpb.MessageType_MsgProp || m.GetType() == raftpb.MessageType_MsgReadIndex || m.GetType() == raftpb.MessageType_MsgTransferLeader
	for _, n := range []uint64{m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetRejectHint()} {
		if n > numberMax {
			return fmt.Errorf("%w: %v with the number %d", errProtocol, m.GetType(), n)
		}
	}
	if !forwarded && m.GetTerm() == 0 {
		return fmt.Errorf("%w: %v without a term", errProtocol, m.GetType())
	}
	if len(m.GetEntries()) > 0 && m.GetType() != raftpb.MessageType_MsgApp && m.GetType() != raftpb.MessageType_MsgProp && m.GetType() != raftpb.MessageType_MsgReadIndex && m.GetType() != raftpb.MessageType_MsgReadIndexResp {
		return fmt.Errorf("%w: %v with entries", errProtocol, m.GetType())
	}
	for i, e := range m.GetEntries() {
		switch e.GetType() {
		case raftpb.EntryType_EntryNormal, raftpb.EntryType_EntryConfChange, raftpb.EntryType_EntryConfChangeV2:
		default:
			return fmt.Errorf("%w: an entry of type %v", errProtocol, e.GetType())
		}
		if m.GetType() != raftpb.MessageType_MsgApp {
			continue
		}
		if e.GetIndex() != m.GetIndex()+uint64(i)+1 || e.GetTerm() == 0 || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("%w: entry %d of term %d at position %d behind entry %d, in term %d", errProtocol, e.GetIndex(), e.GetTerm(), i, m.GetIndex(), m.GetTerm())
		}
	}
	return nil
}

// checkOrigin checks that a member sends only types of messages that members send to each other,
// and in its own name. A message that a follower forwards to the leader keeps the ID of the member
// that it is from, or about.
func (t *Transport) checkOrigin(from uint64, m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MessageType_MsgProp, raftpb.MessageType_MsgReadIndex, raftpb.MessageType_MsgTransferLeader:
	case raftpb.MessageType_MsgApp, raftpb.MessageType_MsgAppResp, raftpb.MessageType_MsgVote, raftpb.MessageType_MsgVoteResp,
		raftpb.MessageType_MsgHeartbeat, raftpb.MessageType_MsgHeartbeatResp, raftpb.MessageType_MsgTimeoutNow,
		raftpb.MessageType_MsgReadIndexResp, raftpb.MessageType_MsgPreVote, raftpb.MessageType_MsgPreVoteResp:
		if m.GetFrom() != from {
			return fmt.Errorf("%w: %v in the name of member %016x", errProtocol, m.GetType(), m.GetFrom())
		}
	default:
		return fmt.Errorf("%w: a message of type %v", errProtocol, m.GetType())
	}
	if err := checkNumbers(m); err != nil {
		return err
	}
	if m.GetTo() != t.cfg.MemberID {
		return fmt.Errorf("%w: %v for member %016x", errProtocol, m.GetType(), m.GetTo())
	}
	return nil
}
