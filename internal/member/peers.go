package member

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
	"cairn/internal/peer"
	"cairn/internal/replica"
	"cairn/internal/storage"
)

// Transport sends raft's messages to the other members; peer.Transport implements it.
type Transport interface {
	SetPeers(peers []peer.Peer)
	Send(msgs []*raftpb.Message)
	SendSnapshot(m *raftpb.Message, size int64, r io.ReadCloser)
	Stats() []peer.Stats
	Close() error
}

// Calls makes calls to other members, and knows which members are connected; peer.Transport
// implements it.
type Calls interface {
	Register(path string, h peer.CallHandler)
	Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error)
	// ActiveSince returns the time since when a member has been connected; the zero time when it is
	// not.
	ActiveSince(id uint64) time.Time
}

// alone is the Transport and the Calls of a member without connections.
type alone struct{}

func (alone) SetPeers([]peer.Peer)              {}
func (alone) Send([]*raftpb.Message)            {}
func (alone) Register(string, peer.CallHandler) {}
func (alone) ActiveSince(uint64) time.Time      { return time.Time{} }
func (alone) Stats() []peer.Stats               { return nil }
func (alone) Close() error                      { return nil }

func (alone) SendSnapshot(_ *raftpb.Message, _ int64, r io.ReadCloser) {
	_ = r.Close() // the error has no receiver
}

func (alone) Call(context.Context, uint64, string, []byte) ([]byte, error) {
	return nil, peer.ErrUnknownPeer
}

// peerHandler receives the transport's messages from other members.
type peerHandler struct{ m *Member }

// Receive implements peer.Handler. It does the raft loop's part of the work; the goroutines of the
// other roles write to the disks, so that messages that arrive meanwhile accumulate.
func (h peerHandler) Receive(_ context.Context, msg *raftpb.Message) {
	err := h.m.replica.CheckMessage(msg)
	if err == nil && msg.GetType() == raftpb.MsgSnap {
		err = fmt.Errorf("%w: MsgSnap without its stream", replica.ErrBadMessage)
	}
	if err != nil {
		h.refused(err)
		return
	}
	h.take(msg)
}

// take passes a checked message to the raft loop.
func (h peerHandler) take(msg *raftpb.Message) {
	m := h.m
	m.inbox.receive(msg)
	m.raft.try()
	m.passOn()
}

// refusedInterval is the minimum interval of log lines about refused messages.
const refusedInterval = 10 * time.Second

// refused logs a message of a peer that was refused.
func (h peerHandler) refused(err error) {
	m := h.m
	now := int64(m.now())
	last := m.lastRefused.Load()
	if (last == 0 || now-last >= int64(refusedInterval)) && m.lastRefused.CompareAndSwap(last, max(1, now)) {
		m.log.Error("refused a message of a peer", "error", err)
	}
}

// Unreachable implements peer.Handler.
func (h peerHandler) Unreachable(id uint64) {
	h.m.raft.do(func() { h.m.replica.ReportUnreachable(id) })
}

// ReceiveSnapshot implements peer.Handler.
func (h peerHandler) ReceiveSnapshot(_ context.Context, msg *raftpb.Message, _ int64, r io.Reader) error {
	began, received := time.Now(), h.m.metrics.ReceivingSnapshot(msg.GetFrom())
	in, err := h.m.replica.ReceiveSnapshot(msg, r)
	received(time.Since(began), err == nil)
	if err != nil {
		h.m.log.Warn("receive snapshot", "from", idText(msg.GetFrom()), "error", err)
		return err
	}
	at := in.GetSnapshot().GetMetadata()
	h.m.log.Info("received snapshot", "from", idText(msg.GetFrom()), "index", at.GetIndex(), "term", at.GetTerm())
	h.take(in)
	return nil
}

// SnapshotSent implements peer.Handler.
func (h peerHandler) SnapshotSent(id uint64, ok bool) {
	h.m.raft.do(func() { h.m.replica.ReportSnapshot(id, ok) })
}

// RemovedFromCluster implements peer.Handler.
func (h peerHandler) RemovedFromCluster() { h.m.leave() }

// send passes messages for other members to the transport.
func (r *raftRole) send(msgs []*raftpb.Message) {
	for i, msg := range msgs {
		if msg.GetType() != raftpb.MsgSnap {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(msgs[i:]), func(msg *raftpb.Message) bool {
			if msg.GetType() != raftpb.MsgSnap {
				return false
			}
			r.m.transport.SendSnapshot(msg, -1, &outgoing{open: func() (*replica.Outgoing, error) { return openSnapshot(r.m) }})
			return true
		})
		msgs = append(msgs[:i:i], rest...)
		break
	}
	r.m.transport.Send(msgs)
}

// outgoing is the stream of a snapshot. The first Read opens it, because opening waits for the
// disk, and the raft loop must not.
type outgoing struct {
	open   func() (*replica.Outgoing, error)
	stream *replica.Outgoing
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	if o.stream == nil {
		stream, err := o.open()
		if err != nil {
			return 0, err
		}
		o.stream = stream
	}
	return o.stream.Read(p)
}

// Close implements io.Closer.
func (o *outgoing) Close() error {
	o.open = func() (*replica.Outgoing, error) { return nil, storage.ErrClosed }
	if o.stream == nil {
		return nil
	}
	return o.stream.Close()
}

// sendOn sends the responses for other members, and returns those for this one.
func (r *logRole) sendOn(responses []*raftpb.Message) (own []*raftpb.Message) {
	m := r.m
	var others []*raftpb.Message
	for _, msg := range responses {
		if msg.GetTo() == m.cfg.ID {
			own = append(own, msg)
		} else {
			others = append(others, msg)
		}
	}
	if len(others) > 0 {
		m.transport.Send(others)
	}
	return own
}

// updatePeers updates the connections to the current members, and stops this member when it was
// removed.
func (r *applyRole) updatePeers() {
	m := r.m
	members := m.machine.Members()
	if len(members) == len(r.members) && (len(members) == 0 || &members[0] == &r.members[0]) {
		return
	}
	r.logMembers(members)
	r.members = members
	var others []peer.Peer
	for i := range members {
		if members[i].ID != m.cfg.ID {
			others = append(others, peer.Peer{ID: members[i].ID, URLs: members[i].PeerURLs})
		}
	}
	m.transport.SetPeers(others)
	if m.machine.Removed(m.cfg.ID) {
		m.leave()
	}
}

// logMembers logs members that were added or removed since the previous updatePeers, in etcd's
// words: tools wait for them. It logs nothing at the start.
func (r *applyRole) logMembers(now []membership.Member) {
	if r.members == nil {
		return
	}
	for _, m := range now {
		if _, ok := membership.Find(r.members, m.ID); !ok {
			r.m.log.Info("added member", "added_peer_id", idText(m.ID), "added_peer_urls", m.PeerURLs, "learner", m.Learner)
		}
	}
	for _, m := range r.members {
		if _, ok := membership.Find(now, m.ID); !ok {
			r.m.log.Info("removed member", "removed_peer_id", idText(m.ID), "removed_peer_urls", m.PeerURLs)
		}
	}
}

// Peers returns statistics of the traffic with the other members.
func (m *Member) Peers() []peer.Stats { return m.transport.Stats() }

func (m *Member) electionTimeout() time.Duration {
	return time.Duration(m.cfg.ElectionTicks) * m.cfg.TickInterval
}
