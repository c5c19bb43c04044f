package auth

import (
	"context"
	"errors"
	"testing"
)

// named are credentials of a fixed user; they count the calls of Actor.
type named struct {
	name  string
	calls *int
	err   error // of the first call
}

func (n named) Actor(context.Context, *Gate, *State) (*Actor, error) {
	*n.calls++
	if n.err != nil && *n.calls == 1 {
		return nil, n.err
	}
	return &Actor{Name: n.name}, nil
}

// certified are the credentials of a client with a certificate of this common name.
type certified string

func (c certified) Actor(context.Context, *Gate, *State) (*Actor, error) {
	return &Actor{Name: string(c), Certificate: true}, nil
}

// waits counts calls of WaitLinearizable.
type waits int

func (w *waits) WaitLinearizable(context.Context) error { *w++; return nil }

// A guard identifies the caller again when users or roles have changed, and when a token is ahead.
func TestGuard(t *testing.T) {
	enabled := &State{Enabled: true, Revision: 7, users: map[string]*User{"u": {Name: "u"}}}
	later := &State{Enabled: true, Revision: 8, users: map[string]*User{"u": {Name: "u"}}}
	table := new(Table)
	table.show(enabled)
	var caughtUp waits
	g := Guard{Gate: &Gate{table: table}, Reads: &caughtUp}
	calls := 0
	var revisions []uint64
	err := g.Do(t.Context(), named{"u", &calls, TokenAhead}, func(ctx context.Context, c *Caller) error {
		revisions = append(revisions, ActorOf(ctx).Revision)
		if !g.Current(c) {
			t.Error("the caller is not current")
		}
		if len(revisions) == 1 {
			table.show(later)
			return OldRevision
		}
		return nil
	})
	if err != nil || caughtUp != 1 || calls != 3 || len(revisions) != 2 || revisions[0] != 7 || revisions[1] != 8 {
		t.Errorf("%v after %d waits, %d identifications, on behalf of revisions %v", err, caughtUp, calls, revisions)
	}
	reads := 0
	err = g.Read(t.Context(), named{"u", &calls, nil}, func(*Caller) error {
		if reads++; reads == 1 {
			table.show(enabled)
		}
		return nil
	})
	if err != nil || reads != 2 {
		t.Errorf("%v after %d reads", err, reads)
	}
	if _, err := g.Identify(t.Context(), named{"nobody", &calls, nil}); !errors.Is(err, BadToken) {
		t.Errorf("a deleted user: %v", err)
	}
	certificate := certified("nobody")
	c, err := g.Identify(t.Context(), certificate)
	if err != nil || !c.Subject.Stranger() || c.Subject.CanRead(Prefix(nil)) || !errors.Is(PermitRoot(c.Subject), UserNotFound) {
		t.Errorf("a certificate with a common name that is no user's: %+v, %v", c.Subject, err)
	}
	err = g.Do(t.Context(), certificate, func(ctx context.Context, _ *Caller) error {
		if a := ActorOf(ctx); !a.Guest || a.Revision != g.Gate.State().Revision {
			t.Errorf("its commands are proposed by %+v", a)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if c, err := g.Identify(t.Context(), certified("u")); err != nil || c.Subject.Stranger() {
		t.Errorf("a user's certificate: %v", err)
	}
	if c, err := (Guard{}).Identify(t.Context(), nil); err != nil || !c.Subject.Root() {
		t.Errorf("without a gate: %v", err)
	}
	if err := g.Do(t.Context(), named{"u", &calls, nil}, func(_ context.Context, c *Caller) error { return PermitRoot(c.Subject) }); !errors.Is(err, Denied) {
		t.Errorf("a user without the role root: %v", err)
	}
}
