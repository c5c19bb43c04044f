package auth

import (
	"context"
	"slices"
	"sync"
)

// waitingMax is how many passwords may wait to be checked.
const waitingMax = 1024

type addressKey struct{}

// From returns a context that carries the address of a client, without its port. Checks of
// passwords take turns among addresses.
func From(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// turns limits how many passwords are checked at a time: bcrypt takes some 60 ms of a processor.
// Those that wait take turns by the client's address, and those of one address by the user's name,
// so that a client which guesses passwords delays its own checks rather than those of others. When
// too many wait, the address that has most of them loses its last one.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting int
	lines   []*line // of addresses, the next to be served first
}

// line are the checks that wait for an address, or for a user of an address.
type line struct {
	name    string
	users   []*line // of an address: its users, the next to be served first
	checks  []chan error
	waiting int
}

func find(lines []*line, name string) *line {
	if i := slices.IndexFunc(lines, func(l *line) bool { return l.name == name }); i >= 0 {
		return lines[i]
	}
	return nil
}

// enter returns when a password of a user may be checked. leave must follow if the error is nil.
func (t *turns) enter(ctx context.Context, user string) error {
	address, _ := ctx.Value(addressKey{}).(string)
	t.mu.Lock()
	if t.free > 0 { // then nothing waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := make(chan error, 1)
	ok := t.addLocked(address, user, turn)
	t.mu.Unlock()
	if !ok {
		return TooManyLogins
	}
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.removeLocked(address, user, turn) {
		return ctx.Err()
	}
	if err := <-turn; err == nil { // the turn came together with the end of the context
		t.nextLocked()
	}
	return ctx.Err()
}

// leave gives the turn to the next check.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nextLocked()
}

func (t *turns) addLocked(address, user string, turn chan error) bool {
	a := find(t.lines, address)
	if t.waiting >= waitingMax {
		longest := slices.MaxFunc(t.lines, func(a, b *line) int { return a.waiting - b.waiting })
		if a != nil && a.waiting >= longest.waiting-1 {
			return false
		}
		u := slices.MaxFunc(longest.users, func(a, b *line) int { return len(a.checks) - len(b.checks) })
		last := u.checks[len(u.checks)-1]
		t.removeLocked(longest.name, u.name, last)
		last <- TooManyLogins
	}
	if a == nil {
		a = &line{name: address}
		t.lines = append(t.lines, a)
	}
	u := find(a.users, user)
	if u == nil {
		u = &line{name: user}
		a.users = append(a.users, u)
	}
	u.checks = append(u.checks, turn)
	a.waiting++
	t.waiting++
	return true
}

// removeLocked removes a check that waits, and reports whether it did.
func (t *turns) removeLocked(address, user string, turn chan error) bool {
	a := find(t.lines, address)
	if a == nil {
		return false
	}
	u := find(a.users, user)
	if u == nil {
		return false
	}
	i := slices.Index(u.checks, turn)
	if i < 0 {
		return false
	}
	u.checks = slices.Delete(u.checks, i, i+1)
	t.takenLocked(a, u)
	return true
}

// takenLocked counts a check that has left its line, and drops lines that are empty.
func (t *turns) takenLocked(a, u *line) {
	a.waiting--
	t.waiting--
	if len(u.checks) == 0 {
		a.users = slices.DeleteFunc(a.users, func(l *line) bool { return l == u })
	}
	if a.waiting == 0 {
		t.lines = slices.DeleteFunc(t.lines, func(l *line) bool { return l == a })
	}
}

func (t *turns) nextLocked() {
	if t.waiting == 0 {
		t.free++
		return
	}
	a := t.lines[0]
	t.lines = append(t.lines[1:], a)
	u := a.users[0]
	a.users = append(a.users[1:], u)
	turn := u.checks[0]
	u.checks = u.checks[1:]
	t.takenLocked(a, u)
	turn <- nil
}

// count returns how many checks wait.
func (t *turns) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}
