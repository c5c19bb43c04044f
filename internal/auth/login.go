package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Login issues a token for a user name and password. A simple token is valid on all members:
// propose must apply the login command, whose result has the time and the State of the token.
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
			continue // the password has changed meanwhile: check it again
		case err != nil:
			return "", err
		case res.State.tokenKey == nil:
			continue // authentication was disabled and enabled meanwhile, and the command had no key
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

// Bearer returns the user that a token was issued to; the use of a simple token extends its
// validity. A token becomes invalid when the user's password changes, and when authentication is
// disabled. The error is BadToken or, for a JWT, also OldRevision or TokenAhead: the state is older
// than the token, and a newer one may have it.
func (g *Gate) Bearer(s *State, token string) (name string, err error) {
	if g.jwt != nil {
		return g.jwt.bearer(s, token)
	}
	return g.tokens.bearer(s, token)
}

// EndToken makes a simple token invalid on this member. A JWT is valid until it expires.
func (g *Gate) EndToken(token string) {
	if g.jwt == nil {
		g.tokens.end(g.State(), token)
	}
}
