package membership

import (
	"maps"

	"cairn/internal/storage"
)

// Pairs returns the key-values of table m for a cluster of the given members. It is for a state
// that is not made by commands.
func Pairs(members []Member) (pairs map[string][]byte) {
	pairs = make(map[string][]byte, len(members))
	for i := range members {
		pairs[string(key(members[i].ID))] = members[i].append(nil)
	}
	return pairs
}

// Alone makes the member with the ID the only member, and a voter, in the batch that Begin started:
// it removes all others. A member without a record gets one with the given peer URLs.
func (t *Table) Alone(b *storage.Batch, id uint64, peerURLs []string) {
	me, ok := Find(t.next, id)
	if !ok {
		me = Member{ID: id, PeerURLs: peerURLs}
	}
	me.Learner = false
	for _, other := range t.next {
		if other.ID != id {
			t.remove(b, other.ID)
		}
	}
	t.removedNext = maps.Clone(t.removedNext)
	delete(t.removedNext, id)
	t.set(b, me)
}
