package member

import (
	"sync"
	"sync/atomic"
)

// Removal ends the requests of a member that was removed from the cluster.
type Removal struct {
	m       *Member
	removed chan struct{} // closed when this member was removed
	once    sync.Once
	drain   atomic.Pointer[func()]
}

// leave closes Removed, and ends all requests at once: those that have not been proposed with
// ErrRemoved, so that clients send them to another member, and those whose results this member will
// not learn with ErrStopped.
func (r *Removal) leave() {
	r.once.Do(func() {
		r.m.log.Warn("this member was removed from the cluster; it stops", "member_id", idText(r.m.cfg.ID))
		close(r.removed)
		if drain := r.drain.Load(); drain != nil {
			(*drain)()
		}
		r.m.inbox.close(ErrRemoved)
		r.m.pending.close(ErrStopped, ErrRemoved)
	})
}

// OnRemoval sets a function that is called once this member was removed from the cluster, before
// the requests in progress fail: clients that send them again must not choose this member. It must
// not block, and may be called twice.
func (r *Removal) OnRemoval(drain func()) {
	r.drain.Store(&drain)
	if r.isRemoved() {
		drain()
	}
}

// Removed is closed when this member was removed from the cluster. The caller should then close the
// member.
func (r *Removal) Removed() <-chan struct{} { return r.removed }

func (r *Removal) isRemoved() bool {
	select {
	case <-r.removed:
		return true
	default:
		return false
	}
}
