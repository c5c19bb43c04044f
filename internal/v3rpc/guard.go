package v3rpc

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
)

// bearer are the credentials of a call: the token in its metadata, or the common name of the
// client's certificate.
type bearer struct {
	commonNames bool // common names are users
}

// Actor implements auth.Credentials.
func (b bearer) Actor(ctx context.Context, g *auth.Gate, s *auth.State) (*auth.Actor, error) {
	token := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC)
	if len(token) == 0 {
		token = metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger)
	}
	if len(token) == 0 {
		if name := b.commonName(ctx); name != "" {
			return &auth.Actor{Name: name, Certificate: true}, nil
		}
		return nil, auth.NoCredentials
	}
	name, err := g.Bearer(s, token[0])
	if err != nil {
		return nil, err
	}
	return &auth.Actor{Name: name}, nil
}

// commonName returns the common name of a gRPC client's verified certificate, or "". Calls as JSON
// have no certificate in their context, as in etcd, except for those of the web console.
func (b bearer) commonName(ctx context.Context) string {
	if !b.commonNames {
		return ""
	}
	if name := auth.CertificateOf(ctx); name != "" {
		return name
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

func (s *server) bearer() bearer { return bearer{commonNames: s.cfg.ClientCertAuth} }

func (s *server) guard() auth.Guard {
	return auth.Guard{Gate: s.member.Requests.Gate(), Reads: s.member.Requests}
}

// identify returns the caller with the call's token.
func (s *server) identify(ctx context.Context) (auth.Caller, error) {
	return s.guard().Identify(ctx, s.bearer())
}

// propose proposes a command on the caller's behalf, if permit allows it: again when users or roles
// have changed since the caller was identified.
func (s *server) propose(ctx context.Context, kind machine.Kind, payload []byte, permit func(*auth.Subject) error) (res *machine.Result, err error) {
	err = s.asCaller(ctx, permit, func(ctx context.Context) error {
		res, err = s.member.Requests.Propose(ctx, kind, payload)
		return err
	})
	return res, err
}

func (s *server) asCaller(ctx context.Context, permit func(*auth.Subject) error, do func(context.Context) error) error {
	began := s.cfg.Tracer.Now(ctx)
	return s.guard().Do(ctx, s.bearer(), func(ctx context.Context, c *auth.Caller) error {
		s.cfg.Tracer.PartUntilNow(ctx, "authenticate", began)
		if err := permit(c.Subject); err != nil {
			return err
		}
		return do(ctx)
	})
}

// read runs a function that only reads, if permit allows it. It runs the function again if users or
// roles have changed meanwhile, since the data may be newer than the permission.
func (s *server) read(ctx context.Context, permit func(*auth.Subject) error, do func() error) error {
	began := s.cfg.Tracer.Now(ctx)
	return s.guard().ReadPermitted(ctx, s.bearer(), permit, func() error {
		s.cfg.Tracer.PartUntilNow(ctx, "authenticate", began)
		return do()
	})
}

// readAs is read for a function that needs to know the caller's permissions.
func (s *server) readAs(ctx context.Context, permit func(*auth.Subject) error, do func(subject *auth.Subject) error) error {
	began := s.cfg.Tracer.Now(ctx)
	return s.guard().Read(ctx, s.bearer(), func(c *auth.Caller) error {
		s.cfg.Tracer.PartUntilNow(ctx, "authenticate", began)
		if err := permit(c.Subject); err != nil {
			return err
		}
		return do(c.Subject)
	})
}

// anyUser permits every user.
func anyUser(*auth.Subject) error { return nil }

// asRoot is asCaller for calls that need the role root.
func (s *server) asRoot(ctx context.Context, do func(context.Context) error) error {
	return s.asCaller(ctx, auth.PermitRoot, do)
}

// mayWatch returns an error unless a watch may be created or continue. Its user was identified when
// it was created.
func mayWatch(state *auth.State, actor *auth.Actor, r kv.KeyRange) error {
	if actor == nil {
		actor = &auth.Actor{}
	}
	subject := state.Subject(actor)
	if subject == nil || !subject.CanRead(r) {
		return auth.Denied
	}
	return nil
}
