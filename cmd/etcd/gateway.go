package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"cairn/internal/discovery"
	"cairn/internal/logging"
	"cairn/internal/proxy/tcpproxy"
)

const (
	// for SRV look-ups, and for the handshake with each endpoint found
	discoveryTimeout = 5 * time.Second
	// for connections in progress at the stop. A TCP proxy cannot ask a client to disconnect.
	gatewayDrain = 5 * time.Second
)

const gatewayHead = `etcd gateway forwards TCP connections to the members of a cluster, so that clients on this machine need one
address only. TLS is between the client and the member.

Usage:
  etcd gateway start [flags]

Flags:
`

// gatewayOptions are the flags of "etcd gateway start".
type gatewayOptions struct {
	endpoints            []string
	listen               string
	retryDelay           time.Duration
	domain, name, caFile string
	insecure             bool
}

func (o *gatewayOptions) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	f.StringSliceVar(&o.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "`HOST:PORT` of members")
	f.StringVar(&o.listen, "listen-addr", "127.0.0.1:23790", "`ADDRESS` to listen on")
	f.DurationVar(&o.retryDelay, "retry-delay", time.Minute, "time between two attempts to reach an endpoint that is down")
	f.StringVar(&o.domain, "discovery-srv", "", "`DOMAIN` whose SRV records name the endpoints")
	f.StringVar(&o.name, "discovery-srv-name", "", "`SUFFIX` of the service names in the SRV records")
	f.BoolVar(&o.insecure, "insecure-discovery", false, "also use endpoints without TLS in the SRV records")
	f.StringVar(&o.caFile, "trusted-ca-file", "", "`FILE` of authorities; endpoints in SRV records whose certificates they do not confirm are not used")
	return f
}

// runGateway is "etcd gateway": it returns the exit status.
func runGateway(ctx context.Context, args []string, std streams, signals <-chan os.Signal) int {
	o := new(gatewayOptions)
	flags := o.flags()
	err := flags.Parse(args)
	words := flags.Args()
	switch {
	case errors.Is(err, pflag.ErrHelp) || err == nil && len(words) == 0:
		fmt.Fprint(std.out, gatewayHead+flags.FlagUsages())
		return exitOK
	case err == nil && !slices.Equal(words, []string{"start"}):
		err = fmt.Errorf("unexpected argument %q: want etcd gateway start [flags]", strings.TrimPrefix(strings.Join(words, " "), "start "))
	}
	if err != nil {
		fmt.Fprintln(std.err, "etcd gateway:", err)
		return exitFailure
	}
	log := logging.For(slog.New(logging.New(std.err, false, slog.LevelInfo)), "gateway")
	if err := o.serve(ctx, log, signals); err != nil {
		fmt.Fprintln(std.err, "etcd gateway:", err)
		return exitFailure
	}
	return exitOK
}

// serve forwards connections until a signal comes; a second one ends it at once.
func (o *gatewayOptions) serve(ctx context.Context, log *slog.Logger, signals <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	endpoints, err := o.find(ctx, log)
	if err != nil {
		return err
	}
	p, err := tcpproxy.New(tcpproxy.Options{Endpoints: endpoints, RetryDelay: o.retryDelay, DrainTimeout: gatewayDrain, Logger: log})
	if err != nil {
		// endpoints are set, so the error is about the delay
		return fmt.Errorf("--retry-delay: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen-addr: %w", err)
	}
	hosts := make([]string, len(endpoints))
	for i, e := range endpoints {
		hosts[i] = e.Host
	}
	log.Info("ready", "listen_addr", l.Addr().String(), "endpoints", strings.Join(hosts, ","))
	notifyReady(log)
	defer notifyStopping(log)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	for n := 0; ; n++ {
		select {
		case err := <-served:
			return err
		case s := <-signals:
			if n > 0 {
				return errors.New("stopped at once by a second signal; connections in progress were closed")
			}
			log.Info("shutting down", "signal", s.String())
			stop()
		}
	}
}

// find returns the endpoints of the flags, or of the SRV records.
func (o *gatewayOptions) find(ctx context.Context, log *slog.Logger) ([]tcpproxy.Endpoint, error) {
	if o.domain != "" {
		return o.discover(ctx, log)
	}
	var endpoints []tcpproxy.Endpoint
	for _, text := range o.endpoints {
		host := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "http://"), "https://"), "/")
		if _, port, err := net.SplitHostPort(host); err != nil || !isPort(port) {
			return nil, fmt.Errorf("--endpoints: %q is not an endpoint: want HOST:PORT[,HOST:PORT…]", text)
		}
		endpoints = append(endpoints, tcpproxy.Endpoint{Host: host})
	}
	if len(endpoints) == 0 {
		return nil, errors.New("--endpoints: is empty: want HOST:PORT[,HOST:PORT…]")
	}
	return endpoints, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// discover returns the endpoints in the SRV records. With --trusted-ca-file, it returns only those
// whose certificates are valid for the domain, as in etcd.
func (o *gatewayOptions) discover(ctx context.Context, log *slog.Logger) ([]tcpproxy.Endpoint, error) {
	bounded, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	found, err := discovery.Clients(bounded, net.DefaultResolver.LookupSRV, o.domain, o.name, o.insecure)
	if err != nil {
		return nil, err
	}
	var authorities *x509.CertPool
	if o.caFile != "" {
		text, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("--trusted-ca-file: %w", err)
		}
		if authorities = x509.NewCertPool(); !authorities.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--trusted-ca-file: %s: contains no PEM certificate", o.caFile)
		}
	}
	var endpoints []tcpproxy.Endpoint
	for _, e := range found {
		if authorities != nil {
			if err := checkCertificate(ctx, e, authorities, o.domain); err != nil {
				log.Warn("endpoint in the SRV records is not used", "endpoint", e.URL(), "error", err)
				continue
			}
		}
		endpoints = append(endpoints, tcpproxy.Endpoint{Host: e.Host, Priority: e.Priority, Weight: e.Weight})
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("--discovery-srv: none of the %d endpoints in the SRV records of %q has a certificate that --trusted-ca-file confirms for that domain",
			len(found), o.domain)
	}
	return endpoints, nil
}

// checkCertificate dials an endpoint and checks its certificate. It does not complete the handshake
// with a member that requires a client certificate: the member's certificate has been checked by
// then.
func checkCertificate(ctx context.Context, e discovery.Endpoint, authorities *x509.CertPool, domain string) error {
	if e.Scheme != "https" {
		return errors.New("has no TLS")
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: authorities, ServerName: domain, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", e.Host)
	if err != nil {
		return err
	}
	return conn.Close()
}
