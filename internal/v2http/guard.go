package v2http

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/v2tree"
)

// Authority has the users and roles.
type Authority interface {
	Gate() *auth.Gate
	// ChangeAuth proposes a command about users and roles and waits until it is applied. A refusal
	// wraps an auth.Reason.
	ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error)
}

const insufficient = "Insufficient credentials"

// errUnauthorized refuses a path other than /v2/keys.
var errUnauthorized = &message{http.StatusUnauthorized, insufficient}

// basic are the credentials of a request: user and password, or the common name of the client's
// certificate, or none, which means the guest.
type basic struct {
	r           *http.Request
	commonNames bool // common names are users
}

// Actor implements auth.Credentials. Wrong credentials are an error, and do not mean the guest.
func (b basic) Actor(ctx context.Context, g *auth.Gate, s *auth.State) (*auth.Actor, error) {
	if b.r.Header.Get("Authorization") == "" {
		// A common name without a user means the guest, as in etcd.
		if named := (&auth.Actor{Name: b.commonName()}); named.Name != "" {
			if s.Subject(named) != nil {
				return named, nil
			}
			g.UnknownCommonName(named.Name)
		}
		return &auth.Actor{Guest: true}, nil
	}
	name, password, ok := b.r.BasicAuth()
	if !ok {
		return nil, auth.Denied
	}
	if host, _, err := net.SplitHostPort(b.r.RemoteAddr); err == nil {
		ctx = auth.From(ctx, host)
	}
	if err := g.Password(ctx, s, name, password); err != nil {
		return nil, err
	}
	return &auth.Actor{Name: name}, nil
}

// commonName returns the common name of the client's verified certificate, or "".
func (b basic) commonName() string {
	if !b.commonNames || b.r.TLS == nil || len(b.r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return b.r.TLS.VerifiedChains[0][0].Subject.CommonName
}

func (h *Handler) guard() (g auth.Guard) {
	if h.authority != nil {
		g.Gate = h.authority.Gate()
	}
	return g
}

// identify returns the caller that sent a request.
func (h *Handler) identify(r *http.Request) (auth.Caller, error) {
	return h.guard().Identify(r.Context(), basic{r, h.commonNames})
}

// asCaller runs a function on behalf of the caller: again when users or roles have changed since
// the caller was identified.
func (h *Handler) asCaller(r *http.Request, do func(ctx context.Context, c *auth.Caller) error) error {
	return h.guard().Do(r.Context(), basic{r, h.commonNames}, func(ctx context.Context, c *auth.Caller) error {
		return do(&lateContext{ctx, time.Now()}, c)
	})
}

// asRoot is asCaller for requests that need the role root. As in etcd 3.1, changes of the members
// requested here move the v2 index.
func (h *Handler) asRoot(r *http.Request, do func(ctx context.Context) error) error {
	err := h.asCaller(r, func(ctx context.Context, c *auth.Caller) error {
		if err := auth.PermitRoot(c.Subject); err != nil {
			return err
		}
		return do(membership.MoveRevision(ctx))
	})
	if errors.Is(err, auth.Denied) || errors.Is(err, auth.BadPassword) {
		return errUnauthorized
	}
	return err
}

// RequireRoot returns a handler that serves next to callers with the role root, by password or,
// with commonNames, by the common name of their certificate; without authentication, to all. It is
// for paths outside the v2 API, which may be disabled.
func RequireRoot(authority Authority, commonNames bool, next http.Handler) http.Handler {
	h := &Handler{authority: authority, commonNames: commonNames}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.asRoot(r, func(context.Context) error { return nil }); err != nil {
			writeMessage(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// target is the node in a request: its path, and the path as sent, which may end with a slash or be
// empty. Permissions match the latter.
type target struct {
	path, sent []byte
}

// permitted returns auth.Denied unless a request is permitted: a recursive request needs permission
// for everything that begins with its path.
func (t *target) permitted(can func(kv.KeyRange) bool, recursive bool) error {
	wanted := kv.KeyRange{Key: t.sent}
	switch {
	case len(t.sent) == 0: // "/v2/keys" alone: as in etcd the pattern "/*" does not match it, only "*" does
		wanted = kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	case recursive:
		wanted = auth.Prefix(t.sent)
	}
	if !can(wanted) {
		return auth.Denied
	}
	return nil
}

// show removes from a permitted directory the nodes that a caller has no permission to read:
// permission for a directory alone is no permission for its content, as in v3.
func show(subject *auth.Subject, n *v2tree.Node) {
	if subject.Root() {
		return
	}
	kept := n.Nodes[:0]
	for i := range n.Nodes {
		child := &n.Nodes[i]
		if machine.PermitV2Key(subject.CanRead, child.Key, child.Dir) {
			show(subject, child)
			kept = append(kept, *child)
		}
	}
	n.Nodes = kept
}
