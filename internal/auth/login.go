package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Login gives out a token to who knows a user's password. A simple token is good on all members:
// propose has the login applied, which says when it was and makes it hold as of the same users on
// all of them.
func (g *Gate) Login(ctx context.Context, name, password string, propose func(context.Context, *Command) (Result, error)) (token string, err error) {
	for {
		s := g.State()
		if !s.Enabled {
			return "", NotEnabled
		}
		if err := g.Password(ctx, s, name, password); err != nil {
			return "", err
		}
		if g.jwt != nil {
			return g.jwt.issue(s, name)
		}
		c := Command{Kind: KindLogin, Name: name, Hash: s.User(name).Hash}
		if s.tokenKey == nil {
			if c.Key, err = g.draw(tokenKeyBytes); err != nil {
				return "", err
			}
		}
		nonce, err := g.draw(nonceBytes)
		if err != nil {
			return "", err
		}
		res, err := propose(ctx, &c)
		switch {
		case errors.Is(err, OldRevision) && ctx.Err() == nil:
			continue // the password has changed meanwhile: is it still right?
		case err != nil:
			return "", err
		case res.State.tokenKey == nil:
			continue // authentication was turned off and on, and this login has brought no key
		}
		return sign(res.State, name, res.Time, []byte(nonce)), nil
	}
}

func (g *Gate) draw(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(g.rand, b); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	return string(b), nil
}

// Bearer returns the user of a state that a token was given to; using a simple one renews it. It is
// worth nothing any more when the user has another password, or authentication was off in between.
// The error is BadToken, of a JWT also OldRevision, or TokenAhead: the state is older than the
// token, and a newer one may know it.
func (g *Gate) Bearer(s *State, token string) (name string, err error) {
	if g.jwt != nil {
		return g.jwt.bearer(s, token)
	}
	return g.tokens.bearer(s, token)
}
