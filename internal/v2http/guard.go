package v2http

import (
	"context"
	"errors"
	"net/http"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/v2tree"
)

// Authority knows who may do what.
type Authority interface {
	Gate() *auth.Gate
	// ChangeAuth has a command about users and roles applied. A refusal wraps an auth.Reason.
	ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error)
}

// GuardBy makes the handler ask who may do what, and serve users and roles. It is called before the
// first request.
func (h *Handler) GuardBy(a Authority) *Handler {
	h.authority = a
	return h
}

const insufficient = "Insufficient credentials"

// errUnauthorized refuses a path other than /v2/keys.
var errUnauthorized = &message{http.StatusUnauthorized, insufficient}

// caller is who sent a request, and what they may do as of a state of users and roles. While
// authentication is off it is nobody, who may do everything.
type caller struct {
	state *auth.State
	actor *auth.Actor
	who   *auth.Subject
}

// identify finds out who sent a request. Whose credentials are not right is auth.Denied, not a
// guest.
func (h *Handler) identify(r *http.Request) (c caller, err error) {
	if h.authority == nil {
		return caller{who: new(auth.State).Subject(nil)}, nil
	}
	gate := h.authority.Gate()
	if c.state = gate.State(); !c.state.Enabled {
		c.who = c.state.Subject(nil)
		return c, nil
	}
	c.actor = &auth.Actor{Revision: c.state.Revision, Guest: r.Header.Get("Authorization") == ""}
	if !c.actor.Guest {
		name, password, ok := r.BasicAuth()
		if !ok {
			return c, auth.Denied
		}
		if err := gate.Password(r.Context(), c.state, name, password); err != nil {
			return c, err
		}
		c.actor.Name = name
	}
	if c.who = c.state.Subject(c.actor); c.who == nil {
		return c, auth.Denied
	}
	return c, nil
}

// stands reports whether what was found out about a caller still holds.
func (h *Handler) stands(c *caller) bool {
	return h.authority == nil || h.authority.Gate().State() == c.state
}

// asCaller does something on behalf of who sent the request: again when it comes out that users or
// roles have changed since they were identified.
func (h *Handler) asCaller(r *http.Request, do func(ctx context.Context, c *caller) error) error {
	for {
		c, err := h.identify(r)
		if err != nil {
			return err
		}
		// Watching for the client's going away would cost a goroutine, to stop waiting for what
		// happens all the same: the member has a time limit for it.
		ctx := context.WithoutCancel(r.Context())
		if c.actor != nil {
			ctx = auth.As(ctx, c.actor)
		}
		if err = do(ctx, &c); !errors.Is(err, auth.OldRevision) || r.Context().Err() != nil {
			return err
		}
	}
}

// asRoot is asCaller for what needs the role root.
func (h *Handler) asRoot(r *http.Request, do func(ctx context.Context) error) error {
	err := h.asCaller(r, func(ctx context.Context, c *caller) error {
		if !c.who.Root() {
			return auth.Denied
		}
		return do(ctx)
	})
	if errors.Is(err, auth.Denied) || errors.Is(err, auth.BadPassword) {
		return errUnauthorized
	}
	return err
}

// target is the node that a request names: its path, and the path as sent, which may end with a
// slash or be empty. Permissions look at the latter.
type target struct {
	path, sent []byte
}

// permitted returns auth.Denied unless a request may be made: for what lies below a node all that
// begins with its path must be allowed.
func (t *target) permitted(can func(kv.KeyRange) bool, recursive bool) error {
	wanted := kv.KeyRange{Key: t.sent}
	switch {
	case len(t.sent) == 0: // "/v2/keys" alone: as in etcd the pattern "/*" does not have it, only "*" does
		wanted = kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	case recursive:
		wanted = auth.Prefix(t.sent)
	}
	if !can(wanted) {
		return auth.Denied
	}
	return nil
}

// show removes from a permitted directory the nodes that the caller has no permission to read:
// permission for a directory alone is no permission for its content, as in v3.
func (c *caller) show(n *v2tree.Node) {
	if c.who.Root() {
		return
	}
	kept := n.Nodes[:0]
	for i := range n.Nodes {
		child := &n.Nodes[i]
		if machine.PermitV2Key(c.who.CanRead, child.Key, child.Dir) {
			c.show(child)
			kept = append(kept, *child)
		}
	}
	n.Nodes = kept
}
