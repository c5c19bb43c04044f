package main

import (
	"log/slog"
	"math"
	"net/http"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"cairn/internal/budget"
	"cairn/internal/config"
	"cairn/internal/console"
	"cairn/internal/datadir"
	"cairn/internal/gateway"
	"cairn/internal/grpcserver"
	"cairn/internal/http1"
	"cairn/internal/http2"
	"cairn/internal/httpbridge"
	"cairn/internal/logging"
	"cairn/internal/member"
	"cairn/internal/metrics"
	"cairn/internal/ops"
	"cairn/internal/portmux"
	"cairn/internal/tracing"
	"cairn/internal/v2http"
	"cairn/internal/v3rpc"
)

// headerBytesMax limits the headers of an HTTP/1 request. Those of HTTP/2 have the same limit in
// package http2.
const headerBytesMax = 64 << 10

// grpcOverheadBytes is the excess over --max-request-bytes above which the transport refuses a
// message; below that, the error is etcd's.
const grpcOverheadBytes = 512 << 10

// clients serves the client port.
type clients struct {
	cfg     *config.Config
	log     *slog.Logger
	m       *member.Member
	id      *datadir.Identity
	meters  *metrics.Metrics
	paths   ops.Config
	secrets *security
	memory  *budget.Budget
	gate    *gate
	tracer  *tracing.Tracer // nil unless spans are sent
	v2      *v2http.Counters
	console *console.Console // nil without --enable-console
	// set by server
	access ops.Access
	json   *gateway.Gateway
}

// server returns the server of gRPC on the client port, and of HTTP if withHTTP. health must be
// shut down before it.
func (c *clients) server(withHTTP bool) (server *portmux.Server, health *health.Server) {
	c.access = ops.Access{Origins: c.cfg.CORS, Hosts: c.cfg.HostWhitelist, AnyOrigin: gateway.Serves}
	c.json = gateway.New(gateway.Options{MessageBytesMax: c.messageBytesMax(), AllowOrigin: c.access.AllowsOrigin})
	services := grpcserver.New(grpcserver.Options{
		MaxRecvBytes: c.messageBytesMax(),
		Inline:       v3rpc.RunsOnReader,
		Logger:       logging.For(c.log, "grpc"),
	})
	renewals := v3rpc.Register(gatedRegistrar{registrars{services, c.json}, c.gate}, servedMember(c.m), c.meters, v3rpc.Config{
		ClusterID: c.id.ClusterID, MemberID: c.id.MemberID, TxnOpsMax: int(c.cfg.TxnOpsMax),
		LeaseTTLMin:     leaseTTLMin(c.cfg),
		RequestBytesMax: int(c.cfg.RequestBytesMax), WatchProgressInterval: c.cfg.WatchProgressInterval,
		ClientCertAuth: c.cfg.ClientTLS.RequireClientCert,
		SlowRequest:    c.cfg.SlowRequest, SlowRange: c.cfg.SlowApply, Logger: logging.For(c.log, "grpc"), Tracer: c.tracer,
	})
	services.ServeMessages(v3rpc.KeepAliveMethod, gatedMessages{renewals, c.gate})
	health = ops.RegisterGRPC(v3rpc.Metered{GRPCServer: services, Meters: c.meters})
	handler := http.NotFoundHandler()
	if withHTTP {
		handler = c.handler(c.json, c.access)
	}
	return c.mux(services, handler), health
}

// httpServer returns the server of --listen-client-http-urls. server must have been called.
func (c *clients) httpServer() *portmux.Server {
	return c.mux(grpcserver.New(grpcserver.Options{Logger: logging.For(c.log, "grpc")}), c.handler(c.json, c.access))
}

// mux returns a server of gRPC services and of a handler on one port.
func (c *clients) mux(services *grpcserver.Server, handler http.Handler) *portmux.Server {
	return portmux.New(portmux.Options{
		MaxConns:       connsMax(),
		Budget:         c.memory,
		ConnectTimeout: readHeaderTimeout,
		Handshakes:     c.secrets.clientTurns,
		HTTP2: http2.NewServer(http2.Options{
			Protocol:             portmux.Router{GRPC: services, HTTP: httpbridge.New(httpbridge.Options{Handler: handler, Logger: logging.For(c.log, "http")})},
			MaxBodyBytes:         c.messageBytesMax(),
			Budget:               c.memory,
			MaxConcurrentStreams: c.cfg.MaxConcurrentStreams,
			KeepaliveMinTime:     orDefault(c.cfg.GRPCKeepaliveMinTime, 5*time.Minute),
			KeepaliveTime:        c.cfg.GRPCKeepaliveInterval,
			KeepaliveTimeout:     c.cfg.GRPCKeepaliveTimeout,
			Received:             func(n int) { c.meters.ClientReceivedBytes.Add(float64(n)) },
			Sent:                 func(n int) { c.meters.ClientSentBytes.Add(float64(n)) },
			Logger:               logging.For(c.log, "grpc"),
		}),
		HTTP1: http1.New(http1.Options{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			MaxHeaderBytes:    headerBytesMax,
			Budget:            c.memory,
			Logger:            logging.For(c.log, "http"),
		}),
		Rejected: c.secrets.failures.Add,
		Logger:   logging.For(c.log, "grpc"),
	})
}

// servedMember returns a member as the v3 services see it.
func servedMember(m *member.Member) v3rpc.Member {
	return v3rpc.Member{Requests: m, Role: m, Space: m, Leases: m, Watches: m, Cluster: m, State: m, Users: m}
}

func (c *clients) messageBytesMax() int { return int(c.cfg.RequestBytesMax) + grpcOverheadBytes }

// orDefault is for flags whose value 0 means gRPC's default.
func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// connsMax returns the maximum number of client connections: the process's limit of open files,
// less the files of the stores and the other members. etcd reserves 150 for its files; pebble may
// have thousands.
func connsMax() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur - min(limit.Cur/2, filesMax))
}

// filesMax is the maximum number of files that the stores open (package storage), including some
// for peers and logs.
const filesMax = 2*4096 + 1024

// registrars registers services with several servers.
type registrars []grpc.ServiceRegistrar

// RegisterService implements grpc.ServiceRegistrar.
func (rs registrars) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, r := range rs {
		r.RegisterService(desc, impl)
	}
}

// leaseTTLMin returns the minimum TTL of a lease in seconds, as in etcd: an election and a half, so
// that leases that clients keep alive survive a change of leader.
func leaseTTLMin(cfg *config.Config) int64 {
	return int64((cfg.ElectionTimeout*3/2 + time.Second - 1) / time.Second)
}

// handler serves HTTP on the client port. Paths that are neither operational nor v3's JSON go to
// v2, which also responds to unknown paths, as etcd does.
func (c *clients) handler(json http.Handler, access ops.Access) http.Handler {
	mux := http.NewServeMux()
	ops.Register(mux, c.paths)
	var rest http.Handler = mux
	if c.cfg.EnableV2 {
		v2 := c.gate.http(v2http.New(v2http.Options{
			Backend: newV2Member(c.m, c.id), Cluster: c.m, Statistics: c.m, Hub: c.m.Watches(), Authority: c.m,
			Counters: c.v2, Requests: c.meters.V2, CommonNames: c.cfg.ClientTLS.RequireClientCert,
		}))
		rest = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// A look-up in the mux would take as long as the rest of the request, and the mux would
			// redirect unclean paths itself.
			if strings.HasPrefix(r.URL.Path, "/v2/") {
				v2.ServeHTTP(w, r)
				return
			}
			if _, pattern := mux.Handler(r); pattern != "" && path.Clean(r.URL.Path) == r.URL.Path {
				mux.ServeHTTP(w, r)
				return
			}
			v2.ServeHTTP(w, r)
		})
	}
	return access.Guard(c.withConsole(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gateway.Serves(r.URL.Path) {
			json.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})))
}
