package sim

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// link is the direction from one member to another.
type link struct{ from, to uint64 }

// network carries messages between members: delayed, reordered, duplicated, or not at all.
type network struct {
	w    *world
	cuts map[link]int // number of faults that cut a link
	// loss and twice are in percent, the other fields in nanoseconds.
	loss, twice int
	slow        int64
}

func newNetwork(w *world) network { return network{w: w, cuts: map[link]int{}} }

// delayMax is the maximum delay of a message without a fault.
const delayMax = 5 * millisecond

// send delivers a message to its member. A message must not change after it was sent.
func (n *network) send(m *raftpb.Message) {
	w := n.w
	to := w.find(m.GetTo())
	if to == nil || n.cuts[link{m.GetFrom(), m.GetTo()}] > 0 || w.rng.IntN(100) < n.loss {
		return
	}
	b, err := proto.Marshal(m)
	if err != nil {
		w.fail("marshal a message: %v", err)
		return
	}
	copies := 1
	// A connection between members never duplicates messages: raft relies on that for forwarded
	// messages.
	if m.GetType() != raftpb.MsgProp && w.rng.IntN(100) < n.twice {
		copies = 2
	}
	for range copies {
		delay := w.between(delayMax/50, delayMax)
		switch w.rng.IntN(100) {
		case 0:
			delay *= 20
		case 1, 2, 3:
			delay *= 4
		}
		if n.slow > 0 {
			delay += w.between(0, n.slow)
		}
		w.after(delay, func() {
			if n.cuts[link{m.GetFrom(), m.GetTo()}] > 0 {
				return
			}
			got := new(raftpb.Message)
			if err := proto.Unmarshal(b, got); err != nil {
				w.fail("unmarshal a message: %v", err)
				return
			}
			to.receive(got)
		})
	}
}

// find returns the member with an ID, or nil.
func (w *world) find(id uint64) *member {
	for _, m := range w.members {
		if m.id == id {
			return m
		}
	}
	return nil
}
