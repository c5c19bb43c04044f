package v3rpc

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// admitted wraps a service with checks of the member's state before each call: a client may require
// that the member has a leader, and a learner serves few calls.
func admitted(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
	out := *desc
	out.Methods, out.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range out.Methods {
		m := &out.Methods[i]
		m.Handler = admittedUnary(m.Handler)
	}
	for i := range out.Streams {
		st := &out.Streams[i]
		st.Handler = admittedStream(st.Handler, "/"+desc.ServiceName+"/"+st.StreamName)
	}
	return &out
}

// needsLeader reports whether the client requires a leader.
func needsLeader(ctx context.Context) bool {
	asked := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(asked) > 0 && asked[0] == rpctypes.MetadataHasLeader
}

func admittedUnary(handle grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		s := srv.(*server)
		if s.member.Role.Leader() == 0 && needsLeader(ctx) {
			return nil, rpctypes.ErrGRPCNoLeader
		}
		if !s.member.Role.IsLearner() {
			return handle(srv, ctx, dec, intercept)
		}
		return handle(srv, ctx, func(req any) error {
			if err := dec(req); err != nil {
				return err
			}
			if !learnerServes(req) {
				return rpctypes.ErrGRPCNotSupportedForLearner
			}
			return nil
		}, intercept)
	}
}

// learnerServes reports whether a learner serves a request: its state may be old, and it has no
// vote.
func learnerServes(req any) bool {
	switch req := req.(type) {
	case *etcdserverpb.StatusRequest:
		return true
	case *rangeRequest:
		return req.serializable
	default:
		return false
	}
}

func admittedStream(handle grpc.StreamHandler, method string) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		s := srv.(*server)
		if s.member.Role.IsLearner() && method != etcdserverpb.Maintenance_Snapshot_FullMethodName {
			return rpctypes.ErrGRPCNotSupportedForLearner
		}
		if !needsLeader(stream.Context()) {
			return handle(srv, stream)
		}
		if s.member.Role.Leader() == 0 {
			return rpctypes.ErrGRPCNoLeader
		}
		ctx, cancel := context.WithCancelCause(stream.Context())
		defer cancel(nil)
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			select {
			case <-s.member.Role.LeaderLost():
				cancel(rpctypes.ErrGRPCNoLeader)
			case <-ended:
			}
		}()
		err := handle(srv, ctxStream{stream, ctx})
		if cause := context.Cause(ctx); errors.Is(cause, rpctypes.ErrGRPCNoLeader) {
			return cause
		}
		return err
	}
}

// ctxStream is a stream with another context.
type ctxStream struct {
	grpc.ServerStream
	ctx context.Context
}

var _ batchStream = ctxStream{}

// Context implements grpc.ServerStream.
func (s ctxStream) Context() context.Context { return s.ctx }

// SendMore implements batchStream; with another transport's stream it calls SendMsg.
func (s ctxStream) SendMore(msg any) error {
	if batch, ok := s.ServerStream.(batchStream); ok {
		return batch.SendMore(msg)
	}
	return s.SendMsg(msg)
}

// Flush implements batchStream.
func (s ctxStream) Flush() {
	if batch, ok := s.ServerStream.(batchStream); ok {
		batch.Flush()
	}
}

// RecvBuffered implements batchStream.
func (s ctxStream) RecvBuffered(msg any) bool {
	batch, ok := s.ServerStream.(batchStream)
	return ok && batch.RecvBuffered(msg)
}

// RecvMsg implements grpc.ServerStream. It returns when the context ends, even if the stream has
// not ended.
func (s ctxStream) RecvMsg(msg any) error {
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(msg) }() // ends with the stream at the latest
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
