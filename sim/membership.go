package sim

import (
	"fmt"
	mrand "math/rand/v2"

	"cairn/check"
	"cairn/internal/membership"
)

// membersMax is the maximum number of members of a run, including removed ones.
const membersMax = 12

// memberWork adds, promotes and removes members.
type memberWork struct{ kvWork }

func (k *memberWork) next(c *client) check.Request {
	w := c.w
	now := w.configuration()
	if c.rng.IntN(4) > 0 || now == nil {
		return k.kvWork.next(c)
	}
	var learners, voters []uint64
	for i := range now {
		if now[i].Learner {
			learners = append(learners, now[i].ID)
		} else {
			voters = append(voters, now[i].ID)
		}
	}
	pick := func(ids []uint64) int64 { return int64(ids[c.rng.IntN(len(ids))]) }
	switch n := c.rng.IntN(6); {
	case n < 2 && len(learners) > 0:
		return check.Request{Member: &check.Member{Do: check.MemberPromote, ID: pick(learners)}}
	case n == 2 && len(learners) > 0:
		return check.Request{Member: &check.Member{Do: check.MemberRemove, ID: pick(learners)}}
	// Neither of two voters is removed: if the remaining one is cut off from the removed one, or
	// both crash, before it has learned that it is alone, it waits for a vote that no member can
	// give.
	case n < 4 && len(voters) > 2 && w.running(voters) == len(voters):
		return check.Request{Member: &check.Member{Do: check.MemberRemove, ID: pick(voters)}}
	case len(w.members) < membersMax && len(now) < 7 && w.running(voters) == len(voters):
		do := check.MemberAdd
		if c.rng.IntN(2) == 0 {
			do = check.MemberAddLearner
		}
		m := w.join(c.rng, do == check.MemberAddLearner)
		return check.Request{Member: &check.Member{Do: do, ID: int64(m.id), URL: m.name}}
	default:
		return k.kvWork.next(c)
	}
}

// foremost returns the running member with the highest applied index; nil when none runs.
func (w *world) foremost() (found *member) {
	for _, m := range w.members {
		if m.up && (found == nil || m.machine.AppliedIndex() > found.machine.AppliedIndex()) {
			found = m
		}
	}
	return found
}

// configuration returns the members as the foremost one has them.
func (w *world) configuration() []membership.Member {
	m := w.foremost()
	if m == nil {
		return nil
	}
	return m.machine.Members()
}

// belongs reports whether a member belongs to the cluster, according to the foremost one.
func (w *world) belongs(m *member) bool {
	_, ok := membership.Find(w.configuration(), m.id)
	return ok && !m.left
}

// running counts the running members.
func (w *world) running(ids []uint64) (n int) {
	for _, id := range ids {
		if m := w.find(id); m != nil && m.up && m.pausedUntil <= w.now {
			n++
		}
	}
	return n
}

// join makes a member that waits to be added, and starts it.
func (w *world) join(rng *mrand.Rand, learner bool) *member {
	id := uint64(len(w.members) + 1)
	m := newMember(w, id, mrand.New(mrand.NewPCG(rng.Uint64(), 6)))
	w.members = append(w.members, m)
	others := append([]membership.Member(nil), w.configuration()...)
	m.initialize(0, 0, append(others, membership.Member{ID: id, PeerURLs: []string{m.name}, Learner: learner}))
	w.note(m.name, "joins, learner: %t", learner)
	m.start()
	return m
}

// moveLeader makes the leader transfer leadership to another voter.
func (w *world) moveLeader(f *fault) {
	m := w.target(f)
	if !m.up || !m.r.Leads() {
		return
	}
	for _, other := range m.r.Followers() {
		if other.ID != m.id && !other.Learner {
			w.note(m.name, "hands over to %d", other.ID)
			m.r.TransferLeadership(other.ID)
			m.kick()
			return
		}
	}
}

func nameOf(id uint64) string { return fmt.Sprintf("m%d", id) }
