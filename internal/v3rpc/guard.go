package v3rpc

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
)

// caller is who made a call, and what they may do as of a state of users and roles. While
// authentication is off it is nobody, who may do everything.
type caller struct {
	state *auth.State
	actor *auth.Actor
	who   *auth.Subject
}

// identify finds out who made a call, by its token.
func (s *server) identify(ctx context.Context) (c caller, err error) {
	c, err = s.identifyHere(ctx)
	if !errors.Is(err, auth.TokenAhead) {
		return c, err
	}
	// Another member has given the token out, by users and roles that are still on their way to
	// this one.
	if err := s.member.WaitLinearizable(ctx); err != nil {
		return c, err
	}
	return s.identifyHere(ctx)
}

func (s *server) identifyHere(ctx context.Context) (c caller, err error) {
	gate := s.member.Gate()
	if c.state = gate.State(); !c.state.Enabled {
		c.who = c.state.Subject(nil)
		return c, nil
	}
	token := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC)
	if len(token) == 0 {
		token = metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger)
	}
	if len(token) == 0 {
		return c, auth.NoCredentials
	}
	name, err := gate.Bearer(c.state, token[0])
	if err != nil {
		return c, err
	}
	c.actor = &auth.Actor{Name: name, Revision: c.state.Revision}
	if c.who = c.state.Subject(c.actor); c.who == nil {
		return c, auth.BadToken
	}
	return c, nil
}

// stands reports whether what was found out about a caller still holds.
func (s *server) stands(c *caller) bool { return s.member.Gate().State() == c.state }

// propose has a command applied on behalf of who made the call, if permit allows it: again when it
// comes out that users or roles have changed since they were identified.
func (s *server) propose(ctx context.Context, kind machine.Kind, payload []byte, permit func(*auth.Subject) error) (res *machine.Result, err error) {
	err = s.asCaller(ctx, permit, func(ctx context.Context) error {
		res, err = s.member.Propose(ctx, kind, payload)
		return err
	})
	return res, err
}

func (s *server) asCaller(ctx context.Context, permit func(*auth.Subject) error, do func(context.Context) error) error {
	for {
		c, err := s.identify(ctx)
		if err != nil {
			return err
		}
		if err := permit(c.who); err != nil {
			return err
		}
		as := ctx
		if c.actor != nil {
			as = auth.As(ctx, c.actor)
		}
		if err = do(as); !errors.Is(err, auth.OldRevision) || ctx.Err() != nil {
			return err
		}
	}
}

// read runs a function that only reads, if permit allows it. It runs the function again if users or
// roles have changed meanwhile, since what was read may be newer than the permission.
func (s *server) read(ctx context.Context, permit func(*auth.Subject) error, do func() error) error {
	return s.readAs(ctx, permit, func(*auth.Subject) error { return do() })
}

// readAs is read for a function that needs to know the caller's permissions.
func (s *server) readAs(ctx context.Context, permit func(*auth.Subject) error, do func(who *auth.Subject) error) error {
	for {
		c, err := s.identify(ctx)
		if err != nil {
			return err
		}
		if err := permit(c.who); err != nil {
			return err
		}
		if err := do(c.who); err != nil || s.stands(&c) {
			return err
		}
	}
}

// rooted permits what needs the role root.
func rooted(who *auth.Subject) error {
	if !who.Root() {
		return auth.Denied
	}
	return nil
}

// anyUser permits what needs no more than to be somebody.
func anyUser(*auth.Subject) error { return nil }

// asRoot is asCaller for what needs the role root.
func (s *server) asRoot(ctx context.Context, do func(context.Context) error) error {
	return s.asCaller(ctx, rooted, do)
}

// mayWatch returns why a watch may not be created or go on, or nil. Its user was identified when it
// was created.
func mayWatch(state *auth.State, actor *auth.Actor, r kv.KeyRange) error {
	if actor == nil {
		actor = &auth.Actor{}
	}
	who := state.Subject(actor)
	if who == nil || !who.CanRead(r) {
		return auth.Denied
	}
	return nil
}
