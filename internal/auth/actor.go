package auth

import (
	"context"
	"encoding/binary"
	"fmt"

	"cairn/internal/codec"
)

// Actor identifies the user, or guest, on whose behalf a command is applied.
type Actor struct {
	Name  string // of the user
	Guest bool   // a request of v2 without credentials
	// Certificate says that the name is the common name of a client's certificate. It is not part
	// of the actor's bytes. As in etcd there may be no such user: see Subject.Stranger.
	Certificate bool
	// Revision is that of the State in which the actor was authenticated: the command is refused if
	// the revision differs when it is applied.
	Revision uint64
}

const actorGuest = 1

// Append appends the actor's bytes.
func (a *Actor) Append(dst []byte) []byte {
	var flags byte
	if a.Guest {
		flags = actorGuest
	}
	return codec.AppendText(binary.AppendUvarint(append(dst, flags), a.Revision), a.Name)
}

// DecodeActor is the inverse of Append; rest is the unread remainder of b.
func DecodeActor(b []byte) (a Actor, rest []byte, err error) {
	r := codec.NewReader(b)
	flags := r.Byte()
	if flags&^actorGuest != 0 {
		r.Fail("flags %#x", flags)
	}
	a.Guest, a.Revision, a.Name = flags&actorGuest != 0, r.Uvarint(), r.Text()
	if err := r.Err(); err != nil {
		return Actor{}, nil, fmt.Errorf("%w: actor: %w", ErrCorrupt, err)
	}
	return a, r.Rest(), nil
}

type actorKey struct{}

// As returns a context whose requests are made on behalf of an actor.
func As(ctx context.Context, a *Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// ActorOf returns the actor of a context, or nil.
func ActorOf(ctx context.Context) *Actor {
	a, _ := ctx.Value(actorKey{}).(*Actor)
	return a
}

type certificateKey struct{}

// WithCertificate returns the context of a request without credentials whose client has proved by
// its certificate that it is the user. The web console uses it: the common name of a certificate
// does not count for other requests as JSON.
func WithCertificate(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, certificateKey{}, user)
}

// CertificateOf returns the user of WithCertificate, or "".
func CertificateOf(ctx context.Context) string {
	name, _ := ctx.Value(certificateKey{}).(string)
	return name
}
