package grpcproxy

import "slices"

// audience is the watchers of a group that belong to one stream: a batch of events is queued once
// for all of them. span.mu guards it.
type audience struct {
	// current get every event that the group delivers. Deliveries in queues share the slice, so it
	// is only appended to; a watcher that leaves replaces it.
	current []*watcher
	// future start at a revision after the group's position
	future []*watcher
}

func (a *audience) size() int { return len(a.current) + len(a.future) }

// all calls f for each watcher.
func (a *audience) all(f func(*watcher)) {
	for _, wr := range a.current {
		f(wr)
	}
	for _, wr := range a.future {
		f(wr)
	}
}

// add adds a watcher to the audience of a group at a position.
func (a *audience) add(wr *watcher, position int64) {
	if wr.next <= position {
		a.current = append(a.current, wr)
	} else {
		a.future = append(a.future, wr)
	}
}

// advance makes the watchers current that start at a revision or before it.
func (a *audience) advance(revision int64) {
	if len(a.future) == 0 {
		return
	}
	a.future = slices.DeleteFunc(a.future, func(wr *watcher) bool {
		if wr.next > revision {
			return false
		}
		a.current = append(a.current, wr)
		return true
	})
}

func (a *audience) remove(wr *watcher) {
	if i := slices.Index(a.current, wr); i >= 0 {
		a.current = slices.Concat(a.current[:i], a.current[i+1:])
		return
	}
	a.future = slices.DeleteFunc(a.future, func(other *watcher) bool { return other == wr })
}

// mergeLocked adds the watchers of the audience of another group at the same position.
func (a *audience) mergeLocked(into *group, other *audience) {
	a.current = append(a.current, other.current...)
	a.future = append(a.future, other.future...)
	other.all(func(wr *watcher) { wr.group = into })
}
