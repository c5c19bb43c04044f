package sim

import (
	"bytes"
	"errors"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/replica"
	"cairn/internal/storage"
)

// sendSnapshot sends a snapshot to the member for which raft requested it: the message names an
// entry, the stream is as of when it is read. Some streams are damaged in transit, and must be
// refused.
func (m *member) sendSnapshot(msg *raftpb.Message) {
	w := m.w
	to := w.find(msg.GetTo())
	life := m.life
	report := func(ok bool) {
		if m.life == life {
			m.r.ReportSnapshot(msg.GetTo(), ok)
			m.kick()
		}
	}
	l := link{m.id, msg.GetTo()}
	m.later(w.between(millisecond, 200*millisecond), func() {
		out, err := m.r.OpenSnapshot()
		if err != nil {
			m.broken(err)
			return
		}
		stream, err := io.ReadAll(out)
		if err != nil {
			m.broken(errors.Join(err, out.Close()))
			return
		}
		w.after(w.between(millisecond, 800*millisecond), func() {
			if m.life == life {
				_ = out.Close()
			}
			ok := to != nil && to.up && w.net.cuts[l] <= 0 && w.rng.IntN(100) >= w.net.loss
			if ok {
				ok = to.receiveSnapshot(proto.Clone(msg).(*raftpb.Message), stream)
			}
			w.after(w.between(0, delayMax), func() { report(ok) })
		})
	})
}

func (m *member) receiveSnapshot(msg *raftpb.Message, stream []byte) bool {
	if m.disk.full || m.pausedUntil > m.w.now {
		return false
	}
	spoilt := !m.w.quiet && !m.w.scripted && m.w.rng.IntN(10) == 0
	if spoilt {
		stream = bytes.Clone(stream)
		if i := m.w.rng.IntN(len(stream)); m.w.rng.IntN(2) == 0 {
			stream = stream[:i]
		} else {
			stream[i] ^= 1 << m.w.rng.IntN(8)
		}
	}
	in, err := m.r.ReceiveSnapshot(msg, bytes.NewReader(stream))
	switch {
	case err == nil && spoilt:
		m.w.fail("%s: took a snapshot that was spoilt on its way", m.name)
	case errors.Is(err, replica.ErrBusy), errors.Is(err, replica.ErrBadMessage) && m.machine.Removed(msg.GetFrom()), err != nil && spoilt:
		m.w.note(m.name, "refuses a snapshot")
	case err != nil:
		m.w.fail("%s: receive snapshot: %v", m.name, err)
	default:
		at := in.GetSnapshot().GetMetadata()
		m.w.note(m.name, "has received a snapshot at entry %d of term %d", at.GetIndex(), at.GetTerm())
		m.receive(in)
		return true
	}
	return false
}

// installed is called when the state was replaced by a snapshot.
func (m *member) installed() {
	m.w.stats.Snapshots++
	m.snapshots++
	m.w.note(m.name, "has installed a snapshot: applied entry %d, revision %d", m.machine.AppliedIndex(), m.machine.Keys().Head().Revision)
	if err := m.keepMembers(); err != nil {
		m.w.fail("%s: %v", m.name, err)
	}
	m.hub.PublishReplaced(m.machine.Keys().Head().Revision)
	m.queueDispatch()
	m.unflushed = 0
	m.compareHash()
	m.lookAtMembers()
	m.releaseReads()
}

// keepMembers restores the old members after a snapshot, for a planted bug.
func (m *member) keepMembers() error {
	if m.w.bug != bugOldMembers {
		return nil
	}
	b := m.state.NewBatch()
	if err := b.DeleteRange([]byte{byte(storage.TableMembers)}, []byte{byte(storage.TableMembers) + 1}); err != nil {
		return err
	}
	for key, value := range m.oldMembers {
		b.Set([]byte(key), value)
	}
	return errors.Join(b.Commit(false), b.Close())
}

// rememberMembers is called before an append that may install a snapshot.
func (m *member) rememberMembers() {
	if m.w.bug != bugOldMembers {
		return
	}
	m.oldMembers = map[string][]byte{}
	it := m.state.NewIter([]byte{byte(storage.TableMembers)}, []byte{byte(storage.TableMembers) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		m.oldMembers[string(it.Key())] = bytes.Clone(it.Value())
	}
	_ = it.Close()
}
