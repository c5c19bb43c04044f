package main

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/grpcserver"
)

// gate holds back the requests of clients until the member is published: before, clients that ask
// for the members would get none, or what an earlier start has announced. The operational paths
// (/health, /version, /readyz and others) are served from the start: they report what the member
// waits for.
type gate struct {
	once   sync.Once
	opened chan struct{}
	done   <-chan struct{} // closed when the member stops
}

func newGate(done <-chan struct{}) *gate { return &gate{opened: make(chan struct{}), done: done} }

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// pass waits until the gate is open, the request's context ends or the member stops.
func (g *gate) pass(ctx context.Context) error {
	select {
	case <-g.opened: // nearly always
		return nil
	default:
	}
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.done:
		return rpctypes.ErrGRPCStopped
	}
}

// http returns a handler whose requests pass the gate.
func (g *gate) http(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.pass(r.Context()) != nil {
			http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// gatedRegistrar registers services whose calls pass a gate.
type gatedRegistrar struct {
	grpc.ServiceRegistrar
	gate *gate
}

// RegisterService implements grpc.ServiceRegistrar.
func (r gatedRegistrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	out := *desc
	out.Methods, out.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range out.Methods {
		handle := out.Methods[i].Handler
		out.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			if err := r.gate.pass(ctx); err != nil {
				return nil, err
			}
			return handle(srv, ctx, dec, intercept)
		}
	}
	for i := range out.Streams {
		handle := out.Streams[i].Handler
		out.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			if err := r.gate.pass(stream.Context()); err != nil {
				return err
			}
			return handle(srv, stream)
		}
	}
	r.ServiceRegistrar.RegisterService(&out, impl)
}

// gatedMessages accept no calls until the gate is open: these wait in their handlers.
type gatedMessages struct {
	grpcserver.Messages
	gate *gate
}

// Accept implements grpcserver.Messages.
func (m gatedMessages) Accept(ctx context.Context) bool {
	select {
	case <-m.gate.opened:
		return m.Messages.Accept(ctx)
	default:
		return false
	}
}
