package auth

import (
	"context"
	"errors"
)

// Guard authorizes the requests of clients, for both dialects: it identifies the caller, and
// repeats a request when users or roles have changed meanwhile. The zero Guard permits everything.
type Guard struct {
	Gate *Gate
	// Reads waits until this member has applied what the cluster had committed: another member may
	// have issued a token for users and roles that this one has not applied yet.
	Reads interface {
		WaitLinearizable(ctx context.Context) error
	}
}

// Credentials are the proof of identity in a request.
type Credentials interface {
	// Actor returns the user, or the guest, that the credentials belong to as of a state in which
	// authentication is enabled. The guard sets the actor's revision.
	Actor(ctx context.Context, g *Gate, s *State) (*Actor, error)
}

// Caller is the sender of a request, with the sender's permissions as of a State. While
// authentication is disabled Actor is nil, and Subject permits everything.
type Caller struct {
	State   *State
	Actor   *Actor
	Subject *Subject
}

// Identify returns the caller with the credentials. The error is one of this package's, or the
// context's.
func (g Guard) Identify(ctx context.Context, from Credentials) (Caller, error) {
	c, err := g.identify(ctx, from)
	if g.Reads == nil || !errors.Is(err, TokenAhead) {
		return c, err
	}
	if err := g.Reads.WaitLinearizable(ctx); err != nil {
		return c, err
	}
	return g.identify(ctx, from)
}

func (g Guard) identify(ctx context.Context, from Credentials) (c Caller, err error) {
	if g.Gate == nil {
		return Caller{Subject: unrestricted}, nil
	}
	if c.State = g.Gate.State(); !c.State.Enabled {
		c.Subject = c.State.Subject(nil)
		return c, nil
	}
	if c.Actor, err = from.Actor(ctx, g.Gate, c.State); err != nil {
		return c, err
	}
	c.Actor.Revision = c.State.Revision
	if c.Subject = c.State.Subject(c.Actor); c.Subject == nil {
		return c, BadToken // the user has been deleted
	}
	if c.Subject.Stranger() {
		g.Gate.UnknownCommonName(c.Actor.Name)
	}
	return c, nil
}

// Current reports whether users and roles are unchanged since the caller was identified.
func (g Guard) Current(c *Caller) bool { return g.Gate == nil || g.Gate.State() == c.State }

// Do identifies the caller and calls do with a context in which commands are proposed on the
// caller's behalf. It starts again when do returns OldRevision, which refuses a command because
// users or roles have changed since.
func (g Guard) Do(ctx context.Context, from Credentials, do func(ctx context.Context, c *Caller) error) error {
	for {
		c, err := g.Identify(ctx, from)
		if err != nil {
			return err
		}
		as := ctx
		switch {
		case c.Subject.Stranger():
			// The log has no actor for it. Its requests that are not refused need no permission,
			// and are proposed as a guest's.
			as = As(ctx, &Actor{Name: c.Actor.Name, Guest: true, Revision: c.Actor.Revision})
		case c.Actor != nil:
			as = As(ctx, c.Actor)
		}
		if err = do(as, &c); !errors.Is(err, OldRevision) || ctx.Err() != nil {
			return err
		}
	}
}

// Read identifies the caller and calls do, which must change nothing. It starts again when users or
// roles have changed meanwhile, since the data that was read may be newer than the permission.
func (g Guard) Read(ctx context.Context, from Credentials, do func(c *Caller) error) error {
	for {
		c, err := g.Identify(ctx, from)
		if err != nil {
			return err
		}
		if err := do(&c); err != nil || g.Current(&c) {
			return err
		}
	}
}

// ReadPermitted is Read for a function that does not need the caller: permit decides whether it is
// called. A caller that no function receives takes no memory, which every get would pay for.
func (g Guard) ReadPermitted(ctx context.Context, from Credentials, permit func(*Subject) error, do func() error) error {
	for {
		c, err := g.Identify(ctx, from)
		if err != nil {
			return err
		}
		if err := permit(c.Subject); err != nil {
			return err
		}
		if err := do(); err != nil || g.Current(&c) {
			return err
		}
	}
}

// PermitRoot returns Denied unless the subject has the role root; for a stranger it returns
// UserNotFound, as etcd does.
func PermitRoot(subject *Subject) error {
	switch {
	case subject.Stranger():
		return UserNotFound
	case !subject.Root():
		return Denied
	default:
		return nil
	}
}
