// Package rawgrpc forwards gRPC calls to another server without decoding their messages.
//
// It owns the destination of each call and the forwarding of metadata, messages, trailers and
// status. It does not own connections: the caller has a grpc.ClientConnInterface, which balances
// over the members, and a registrar that receives the calls.
//
// Invariants: the messages of a call are forwarded one at a time, so that flow control is end to
// end: while a client does not read, the member cannot send.
//
// Concurrency: each streaming call has two goroutines, which end with it.
package rawgrpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Message is a message that stays encoded.
type Message struct{ Bytes []byte }

// UnmarshalWire implements grpcserver.WireUnmarshaler. It copies: the bytes are the server's.
func (m *Message) UnmarshalWire(b []byte) error {
	m.Bytes = append(m.Bytes[:0], b...)
	return nil
}

// AppendWire implements grpcserver.WireAppender.
func (m *Message) AppendWire(b []byte) ([]byte, error) { return append(b, m.Bytes...), nil }

// SizeWire implements grpcserver.WireSizer.
func (m *Message) SizeWire() int { return len(m.Bytes) }

// OwnWire implements grpcclient.WireOwner.
func (m *Message) OwnWire(b []byte) { m.Bytes = b }

// Options configure the forwarding.
type Options struct {
	// Conn is the destination of the calls.
	Conn grpc.ClientConnInterface
	// Check, if not nil, may refuse a call by its method and its first message.
	Check func(fullMethod string, message []byte) error
	// Repeatable reports whether a call may be made again after a connection has broken, although
	// it may have been carried out. nil means never.
	Repeatable func(fullMethod string) bool
}

// Repetitions of a call whose connection has broken: in total longer than an election.
const (
	repetitionsMax  = 40
	repetitionPause = 50 * time.Millisecond
)

// Register makes a server forward all methods of the services.
func Register(r grpc.ServiceRegistrar, o Options, services ...*grpc.ServiceDesc) {
	for _, s := range services {
		desc := &grpc.ServiceDesc{ServiceName: s.ServiceName, Metadata: s.Metadata}
		for _, m := range s.Methods {
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: o.unary("/" + s.ServiceName + "/" + m.MethodName)})
		}
		for _, m := range s.Streams {
			d := m
			d.Handler = o.stream(&d, "/"+s.ServiceName+"/"+m.StreamName)
			desc.Streams = append(desc.Streams, d)
		}
		r.RegisterService(desc, nil)
	}
}

// unary returns the handler of a method with one request and one response.
func (o Options) unary(name string) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in, out := new(Message), new(Message)
		if err := decode(in); err != nil {
			return nil, err
		}
		if o.Check != nil {
			if err := o.Check(name, in.Bytes); err != nil {
				return nil, err
			}
		}
		header, trailer, err := o.invoke(Outgoing(ctx), name, in, out)
		// these fail if the client has disconnected, which sending the response detects as well
		_ = grpc.SetHeader(ctx, passed(header))
		_ = grpc.SetTrailer(ctx, passed(trailer))
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// invoke makes a call, and repeats it where that is harmless.
func (o Options) invoke(ctx context.Context, name string, in, out *Message) (header, trailer metadata.MD, err error) {
	for n := 0; ; n++ {
		header, trailer = nil, nil
		err = o.Conn.Invoke(ctx, name, in, out, grpc.ForceCodecV2(codec{}), grpc.Header(&header), grpc.Trailer(&trailer))
		if status.Code(err) != codes.Unavailable || n == repetitionsMax || o.Repeatable == nil || !o.Repeatable(name) {
			return header, trailer, err
		}
		select {
		case <-ctx.Done():
			return header, trailer, err
		case <-time.After(repetitionPause):
		}
	}
}

// stream returns the handler of a method with streams.
func (o Options) stream(desc *grpc.StreamDesc, name string) grpc.StreamHandler {
	return func(_ any, client grpc.ServerStream) error {
		first := new(Message)
		if o.Check != nil {
			if err := client.RecvMsg(first); err != nil {
				return err
			}
			if err := o.Check(name, first.Bytes); err != nil {
				return err
			}
		} else {
			first = nil
		}
		ctx, cancel := context.WithCancel(Outgoing(client.Context()))
		defer cancel()
		server, err := o.Conn.NewStream(ctx, desc, name, grpc.ForceCodecV2(codec{}))
		if err != nil {
			return err
		}
		go func() {
			if err := sendAll(server, client, first); err != nil {
				cancel() // the client has disconnected, or has sent an unreadable message
			}
		}()
		return receiveAll(client, server)
	}
}

// sendAll forwards the client's messages until the client ends them.
func sendAll(server grpc.ClientStream, client grpc.ServerStream, first *Message) error {
	if first != nil {
		if err := server.SendMsg(first); err != nil {
			return nil //nolint:nilerr // the status comes with RecvMsg
		}
	}
	for {
		m := new(Message) // the previous one belongs to the connection
		if err := client.RecvMsg(m); err != nil {
			if errors.Is(err, io.EOF) {
				return server.CloseSend()
			}
			return err
		}
		if err := server.SendMsg(m); err != nil {
			return nil //nolint:nilerr // likewise
		}
	}
}

// receiveAll forwards the server's header, messages, trailer and status.
func receiveAll(client grpc.ServerStream, server grpc.ClientStream) error {
	begun := false
	for m := new(Message); ; {
		err := server.RecvMsg(m)
		if !begun {
			begun = true
			if header, err := server.Header(); err == nil {
				_ = client.SetHeader(passed(header)) // fails if the client has disconnected
			}
		}
		if err != nil {
			client.SetTrailer(passed(server.Trailer()))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := client.SendMsg(m); err != nil {
			return err
		}
	}
}

// Outgoing returns a context for an outgoing call with the metadata of the incoming one.
func Outgoing(ctx context.Context) context.Context {
	in, _ := metadata.FromIncomingContext(ctx)
	return metadata.NewOutgoingContext(ctx, passed(in))
}

// passed returns the metadata that does not belong to one connection.
func passed(md metadata.MD) metadata.MD {
	out := make(metadata.MD, len(md))
	for name, values := range md {
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "grpc-") || slices.Contains([]string{"content-type", "user-agent", "te", "host"}, name) {
			continue
		}
		out[name] = values
	}
	return out
}

var errNotRaw = status.Error(codes.Internal, "rawgrpc: a message that is not encoded")

// codec passes messages unchanged.
type codec struct{}

var _ encoding.CodecV2 = codec{}

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*Message)
	if !ok {
		return nil, errNotRaw
	}
	return mem.BufferSlice{mem.SliceBuffer(m.Bytes)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*Message)
	if !ok {
		return errNotRaw
	}
	m.Bytes = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }
