package auth

import (
	"context"
	"slices"
	"sync"
)

// waitingMax is the maximum number of password checks that wait.
const waitingMax = 1024

type addressKey struct{}

// From returns a context with the address of a client, without its port. Password checks are queued
// fairly among addresses.
func From(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// fairLimiter limits how many passwords are checked at a time: bcrypt takes some 60 ms of a
// processor. Waiting checks are served round-robin by the client's address, and within an address
// round-robin by the user's name, so that a client that guesses passwords delays its own checks
// rather than those of others. When too many wait, the address with most of them loses its last
// one.
type fairLimiter struct {
	mu      sync.Mutex
	free    int
	waiting int
	queues  []*checkQueue // of addresses, the next to be served first
}

// checkQueue has the waiting checks of an address, or of a user of an address.
type checkQueue struct {
	name    string
	users   []*checkQueue // of an address: those of its users, the next to be served first
	checks  []chan error
	waiting int
}

func findQueue(queues []*checkQueue, name string) *checkQueue {
	if i := slices.IndexFunc(queues, func(l *checkQueue) bool { return l.name == name }); i >= 0 {
		return queues[i]
	}
	return nil
}

// acquire waits until a password of a user may be checked. If the error is nil, release must
// follow.
func (t *fairLimiter) acquire(ctx context.Context, user string) error {
	address, _ := ctx.Value(addressKey{}).(string)
	t.mu.Lock()
	if t.free > 0 { // then none waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	granted := make(chan error, 1)
	ok := t.addLocked(address, user, granted)
	t.mu.Unlock()
	if !ok {
		return TooManyLogins
	}
	select {
	case err := <-granted:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.removeLocked(address, user, granted) {
		return ctx.Err()
	}
	if err := <-granted; err == nil { // acquired at the moment at which the context ended
		t.nextLocked()
	}
	return ctx.Err()
}

// release lets the next check start.
func (t *fairLimiter) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nextLocked()
}

func (t *fairLimiter) addLocked(address, user string, granted chan error) bool {
	a := findQueue(t.queues, address)
	if t.waiting >= waitingMax {
		longest := slices.MaxFunc(t.queues, func(a, b *checkQueue) int { return a.waiting - b.waiting })
		if a != nil && a.waiting >= longest.waiting-1 {
			return false
		}
		u := slices.MaxFunc(longest.users, func(a, b *checkQueue) int { return len(a.checks) - len(b.checks) })
		last := u.checks[len(u.checks)-1]
		t.removeLocked(longest.name, u.name, last)
		last <- TooManyLogins
	}
	if a == nil {
		a = &checkQueue{name: address}
		t.queues = append(t.queues, a)
	}
	u := findQueue(a.users, user)
	if u == nil {
		u = &checkQueue{name: user}
		a.users = append(a.users, u)
	}
	u.checks = append(u.checks, granted)
	a.waiting++
	t.waiting++
	return true
}

// removeLocked removes a waiting check, and reports whether it did.
func (t *fairLimiter) removeLocked(address, user string, granted chan error) bool {
	a := findQueue(t.queues, address)
	if a == nil {
		return false
	}
	u := findQueue(a.users, user)
	if u == nil {
		return false
	}
	i := slices.Index(u.checks, granted)
	if i < 0 {
		return false
	}
	u.checks = slices.Delete(u.checks, i, i+1)
	t.takenLocked(a, u)
	return true
}

// takenLocked counts a check that has left its queue, and drops empty queues.
func (t *fairLimiter) takenLocked(a, u *checkQueue) {
	a.waiting--
	t.waiting--
	if len(u.checks) == 0 {
		a.users = slices.DeleteFunc(a.users, func(l *checkQueue) bool { return l == u })
	}
	if a.waiting == 0 {
		t.queues = slices.DeleteFunc(t.queues, func(l *checkQueue) bool { return l == a })
	}
}

func (t *fairLimiter) nextLocked() {
	if t.waiting == 0 {
		t.free++
		return
	}
	a := t.queues[0]
	t.queues = append(t.queues[1:], a)
	u := a.users[0]
	a.users = append(a.users[1:], u)
	granted := u.checks[0]
	u.checks = u.checks[1:]
	t.takenLocked(a, u)
	granted <- nil
}

// count returns the number of waiting checks.
func (t *fairLimiter) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}
