package main

import (
	"context"
	"log/slog"
	"net/http"

	"cairn/internal/budget"
	"cairn/internal/grpcserver"
	"cairn/internal/http1"
	"cairn/internal/http2"
	"cairn/internal/httpbridge"
	"cairn/internal/logging"
	"cairn/internal/portmux"
)

// proxyPort is the client port of etcd --proxy and of etcd grpc-proxy.
type proxyPort struct {
	handler http.Handler // of requests other than gRPC
	memory  *budget.Budget
	secrets *security
	log     *slog.Logger
}

// engine returns an HTTP/2 server of calls and of other requests; limits has its limits.
func (p *proxyPort) engine(calls *grpcserver.Server, limits http2.Options) portmux.HTTP2 {
	limits.Protocol = portmux.Router{GRPC: calls, HTTP: httpbridge.New(httpbridge.Options{Handler: p.handler, Logger: logging.For(p.log, "http")})}
	limits.Budget, limits.Logger = p.memory, logging.For(p.log, "grpc")
	return http2.NewServer(limits)
}

// server returns the server of the port.
func (p *proxyPort) server(engine portmux.HTTP2) *portmux.Server {
	return portmux.New(portmux.Options{
		MaxConns:       connsMax(),
		Budget:         p.memory,
		ConnectTimeout: readHeaderTimeout,
		Handshakes:     p.secrets.clientTurns,
		HTTP2:          engine,
		HTTP1: http1.New(http1.Options{
			Handler:           p.handler,
			ReadHeaderTimeout: readHeaderTimeout,
			MaxHeaderBytes:    headerBytesMax,
			Logger:            logging.For(p.log, "http"),
		}),
		Rejected: p.secrets.failures.Add,
		Logger:   logging.For(p.log, "grpc"),
	})
}

// shutDownProxy waits until ctx ends or a server has failed, and shuts the client port down after
// calling stopping. It returns the error of the server that failed, if one has.
func shutDownProxy(ctx context.Context, log *slog.Logger, server *portmux.Server, failed <-chan error, stopping func()) (err error) {
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	notifyStopping(log)
	stopping()
	bounded, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if late := server.Shutdown(bounded); late != nil {
		log.Debug("closed requests in progress", "error", late)
	}
	return err
}
