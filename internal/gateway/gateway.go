// Package gateway serves gRPC services as JSON over HTTP/1 and HTTP/2: a POST to /v3/kv/range is a
// call of KV.Range.
//
// It owns the paths, the translation between JSON and messages, the form of errors, and websockets.
// It does not own the services: it is a grpc.ServiceRegistrar, with which the same services are
// registered as with the gRPC server, and it calls their handlers itself, without a connection in
// between. So a request costs its JSON and one encoding, and its deadline, metadata and
// cancellation reach the handler in the context.
//
// The paths are those in the services' published descriptors (google.api.http). /v3alpha/ and
// /v3beta/ are other names of /v3/.
//
// Invariants: a call holds at most one request of Options.MessageBytesMax, as JSON twice that, and
// one response; a client that does not read blocks only its own call (TestLimits).
//
// Concurrency: services are registered before the first request; afterwards everything may be used
// from any number of goroutines.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cairn/internal/budget"
)

// prefixes are the prefixes of paths: etcd 3.1 had the first, 3.3 the second, and 3.4 to 3.7 have
// the last.
var prefixes = []string{"/v3alpha/", "/v3beta/", prefix}

const prefix = "/v3/"

// Options configures a Gateway.
type Options struct {
	// MessageBytesMax limits a request, in its protobuf form.
	MessageBytesMax int
	// AllowOrigin reports whether a page of an origin may open a websocket on a path; nil means
	// that all may. Pages of the server itself always may.
	AllowOrigin func(origin, path string) bool
}

// Gateway is an http.Handler, and a grpc.ServiceRegistrar for its services.
type Gateway struct {
	opts   Options
	routes map[string]*route // by their paths under /v3/
	mux    *runtime.ServeMux // maps headers to metadata
}

// route is a path and the RPC behind it.
type route struct {
	path   string
	name   string // Range
	method string // /etcdserverpb.KV/Range
	call   call
	input  protoreflect.MessageType
	output protoreflect.MessageType
}

// call is the handler of an RPC. One of unary and stream is set, or neither when the service does
// not have the RPC.
type call struct {
	impl   any
	unary  grpc.MethodHandler
	stream *grpc.StreamDesc
}

func (c call) missing() bool { return c.unary == nil && c.stream == nil }

// New returns a gateway without services.
func New(opts Options) *Gateway {
	return &Gateway{opts: opts, routes: make(map[string]*route), mux: runtime.NewServeMux()}
}

// RegisterService implements grpc.ServiceRegistrar. A service without a published descriptor, or
// without paths, is served over gRPC only. An RPC with a path but without a handler gets the status
// Unimplemented.
func (g *Gateway) RegisterService(desc *grpc.ServiceDesc, impl any) {
	calls := make(map[string]call)
	for i := range desc.Methods {
		calls[desc.Methods[i].MethodName] = call{impl: impl, unary: desc.Methods[i].Handler}
	}
	for i := range desc.Streams {
		calls[desc.Streams[i].StreamName] = call{impl: impl, stream: &desc.Streams[i]}
	}
	for _, r := range routesOf(protoreflect.FullName(desc.ServiceName)) {
		r.call = calls[r.name]
		g.routes[r.path] = r
	}
}

// Serves reports whether the gateway serves a path.
func Serves(path string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(path, p); ok {
			path = prefix + rest
			break
		}
	}
	to := g.routes[path]
	if to == nil && r.Method != http.MethodPost {
		http.NotFound(w, r) // as for paths outside of /v3/
		return
	}
	if err := g.overrideMethod(w, r); err != nil {
		writeError(w, statusOf(err))
		return
	}
	switch {
	case to == nil:
		writeError(w, status.New(codes.NotFound, http.StatusText(http.StatusNotFound)))
	case websocket.IsWebSocketUpgrade(r):
		g.serveWebsocket(w, r, to)
	case r.Method != http.MethodPost:
		writeError(w, status.New(codes.Unimplemented, http.StatusText(http.StatusMethodNotAllowed)))
	default:
		g.serve(w, r, to)
	}
}

// overrideMethod applies X-HTTP-Method-Override where grpc-gateway does: in a POST of a form. Then
// the body is a form and not a message: such a POST, overridden to POST, is a request without
// fields. All other methods are refused, since only POST is served.
func (g *Gateway) overrideMethod(w http.ResponseWriter, r *http.Request) error {
	method := r.Header.Get("X-HTTP-Method-Override")
	if method == "" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, g.bodyBytesMax())
	if err := r.ParseForm(); err != nil {
		return invalid(err)
	}
	r.Method = strings.ToUpper(method)
	return nil
}

// serve serves a request for a path.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, to *route) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ctx, err := g.callContext(ctx, r, to)
	if err == nil {
		err = ctx.Err() // the deadline may have passed already
	}
	switch {
	case err != nil:
		writeError(w, statusOf(err))
	case to.call.missing():
		writeError(w, status.Newf(codes.Unimplemented, "unknown method %s", to.method))
	case to.call.unary != nil:
		g.serveUnary(ctx, w, r, to)
	default:
		g.serveStream(ctx, w, r, to)
	}
}

func (g *Gateway) serveUnary(ctx context.Context, w http.ResponseWriter, r *http.Request, to *route) {
	ctx, hold := budget.WithHold(ctx, responseFactor)
	defer hold.Close()
	in := to.input.New().Interface()
	body := &chargedReader{body: http.MaxBytesReader(w, r.Body, g.bodyBytesMax()), hold: hold}
	if err := decodeBody(body, in, g.opts.MessageBytesMax); err != nil {
		writeError(w, statusOf(err))
		return
	}
	sent := new(runtime.ServerTransportStream)
	ctx = grpc.NewContextWithServerTransportStream(ctx, sent)
	reply, err := to.call.unary(to.call.impl, ctx, func(v any) error { return hand(in, v) }, nil)
	in = nil // a watch or a lock may have waited for long
	hold.GiveTaken()
	if long, ok := reply.(wirePieces); ok && err == nil {
		if pieces, done := long.WirePieces(); len(pieces) > 0 {
			account := budget.FromContext(ctx)
			account.Force(textBytesMax)
			defer account.Give(textBytesMax)
			beginUnary(w, sent)
			// an error means that the client has disconnected, which must not see the end of the
			// text
			if writePieces(w, to.output.Descriptor(), pieces, done) != nil {
				panic(http.ErrAbortHandler)
			}
			return
		}
	}
	var text []byte
	if err == nil {
		text, err = g.responseText(reply, to, hold)
	}
	if err != nil {
		if u := unexecuted(nil); errors.As(err, &u) {
			w.Header().Set("X-Etcd-Not-Executed", "true")
		}
		writeError(w, statusOf(err))
		return
	}
	beginUnary(w, sent)
	_, _ = w.Write(text) // the client may have disconnected
}

func beginUnary(w http.ResponseWriter, sent *runtime.ServerTransportStream) {
	writeMetadata(w, sent.Header())
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
}

// unexecuted is the error of a call that has certainly not been executed (grpcserver.Unexecuted).
// The response says so by X-Etcd-Not-Executed, for proxies.
type unexecuted interface {
	error
	Unexecuted()
}

// responseText returns a response as JSON. It takes the memory before it makes another form of the
// response.
func (g *Gateway) responseText(reply any, to *route, hold *budget.Hold) ([]byte, error) {
	if n := encodedBytes(reply); n > freeBytes && hold.Responses() < n && !hold.TryTake(n*responseFactor) {
		return nil, budget.ErrExhausted
	}
	out, err := published(reply, to.output)
	if err != nil {
		return nil, err
	}
	return marshalJSON(out)
}

// bodyBytesMax limits a request in JSON: base64 makes four bytes of three, and the rest is for
// names and blanks.
func (g *Gateway) bodyBytesMax() int64 { return 2*int64(g.opts.MessageBytesMax) + 4096 }

// callContext returns the context of a call: a deadline from Grpc-Timeout, and the headers that
// become metadata.
func (g *Gateway) callContext(ctx context.Context, r *http.Request, to *route) (context.Context, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		// etcd expects the token alone; browsers and HTTP libraries prefix it with a scheme.
		r.Header.Set("Authorization", token)
	}
	ctx, err := runtime.AnnotateIncomingContext(ctx, g.mux, r, to.method)
	if err != nil {
		return nil, err
	}
	return withPeer(ctx, r), nil
}

// statusOf turns an error into the status that the client sees.
func statusOf(err error) *status.Status {
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return status.Newf(codes.ResourceExhausted, "request body larger than %d bytes", tooLong.Limit)
	}
	if errors.Is(err, budget.ErrExhausted) {
		return status.Convert(rpctypes.ErrGRPCRequestTooManyRequests)
	}
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}
