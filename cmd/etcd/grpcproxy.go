package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"cairn/internal/budget"
	"cairn/internal/certs"
	"cairn/internal/discovery"
	"cairn/internal/grpcclient"
	"cairn/internal/grpcserver"
	"cairn/internal/http2"
	"cairn/internal/listen"
	"cairn/internal/logging"
	"cairn/internal/portmux"
	"cairn/internal/proxy/clusterwatch"
	"cairn/internal/proxy/grpcproxy"
)

const grpcProxyHead = `etcd grpc-proxy serves etcd's v3 API in front of a cluster. Clients share what they watch and what they renew, and
serializable reads are cached.

Usage:
  etcd grpc-proxy start [flags]

Flags:
`

// grpcProxyOptions are the flags of "etcd grpc-proxy start".
type grpcProxyOptions struct {
	endpoints    []string
	autoSync     time.Duration
	domain, name string
	insecureSRV  bool
	listen       string
	metrics      string
	reusePort    bool
	pprof, debug bool
	dataDir      string

	upstream                    upstreamFiles
	keepaliveTime, keepaliveFor time.Duration
	permitWithoutStream         bool
	sendBytesMax, recvBytesMax  int

	server                     certs.Options
	autoTLS                    bool
	selfSignedYears            uint
	cipherSuites               []string
	tlsMin, tlsMax             string
	keepaliveMin, pingInterval time.Duration
	pingTimeout                time.Duration
	streamsMax                 uint32

	proxy grpcproxy.Options
}

func (o *grpcProxyOptions) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("grpc-proxy", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	f.StringSliceVar(&o.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "`ENDPOINT`s of members")
	f.DurationVar(&o.autoSync, "endpoints-auto-sync-interval", 0, "interval at which the list of members is read from the cluster; 0 disables it")
	f.StringVar(&o.domain, "discovery-srv", "", "`DOMAIN` whose SRV records name the endpoints")
	f.StringVar(&o.name, "discovery-srv-name", "", "`SUFFIX` of the service names in the SRV records")
	f.BoolVar(&o.insecureSRV, "insecure-discovery", false, "also use the SRV records of endpoints without TLS")
	f.StringVar(&o.listen, "listen-addr", "127.0.0.1:23790", "`ADDRESS` to listen on")
	f.StringVar(&o.metrics, "metrics-addr", "", "additional `URL` that serves only /metrics and /health")
	f.BoolVar(&o.reusePort, "socket-reuse-port", false, "allow several processes to listen on the same port")
	f.BoolVar(&o.pprof, "enable-pprof", false, "serve profiles under /debug/pprof/ to clients")
	f.BoolVar(&o.debug, "debug", false, "log at level debug")
	f.StringVar(&o.dataDir, "data-dir", "default.proxy", "`DIRECTORY` for the certificate that --auto-tls creates")

	f.StringVar(&o.upstream.cert, "cert", "", "client certificate `FILE` for connections to members; it must not have a common name, which would be the user of all clients")
	f.StringVar(&o.upstream.key, "key", "", "key `FILE` of --cert")
	f.StringVar(&o.upstream.ca, "cacert", "", "`FILE` with the CA certificates that verify members")
	f.BoolVar(&o.upstream.skipVerify, "insecure-skip-tls-verify", false, "do not verify the certificates of members (for tests only)")
	f.DurationVar(&o.keepaliveTime, "dial-keepalive-time", 0, "interval between pings to a member, 10s or more; 0 disables them")
	f.DurationVar(&o.keepaliveFor, "dial-keepalive-timeout", 20*time.Second, "time to wait for the response to such a ping")
	f.BoolVar(&o.permitWithoutStream, "permit-without-stream", false, "send pings to members also when there are no calls")
	f.IntVar(&o.sendBytesMax, "max-send-bytes", 1.5*1024*1024, "maximum size in `BYTES` of a request to members")
	f.IntVar(&o.recvBytesMax, "max-recv-bytes", math.MaxInt32, "maximum size in `BYTES` of a response from members")

	f.StringVar(&o.server.CertFile, "cert-file", "", "certificate `FILE` of the client port")
	f.StringVar(&o.server.KeyFile, "key-file", "", "key `FILE` of --cert-file")
	f.StringVar(&o.server.TrustedCAFile, "trusted-ca-file", "", "`FILE` with the CA certificates that verify clients; clients must then present a certificate")
	f.StringVar(&o.server.CRLFile, "client-crl-file", "", "`FILE` with revoked client certificates")
	f.BoolVar(&o.autoTLS, "auto-tls", false, "create a self-signed certificate for the client port")
	f.UintVar(&o.selfSignedYears, "self-signed-cert-validity", 1, "validity in `YEARS` of the certificate that --auto-tls creates")
	f.StringSliceVar(&o.cipherSuites, "listen-cipher-suites", nil, "cipher `SUITE`s of TLS 1.2; default: those of Go")
	f.StringVar(&o.tlsMin, "tls-min-version", "TLS1.2", "minimum `VERSION` of TLS: TLS1.2 or TLS1.3")
	f.StringVar(&o.tlsMax, "tls-max-version", "", "maximum `VERSION` of TLS: TLS1.2 or TLS1.3")
	f.DurationVar(&o.keepaliveMin, "grpc-keepalive-min-time", 5*time.Second, "minimum interval between pings of a client; a client that sends more is disconnected")
	f.DurationVar(&o.pingInterval, "grpc-keepalive-interval", 2*time.Hour, "idle time after which a client is sent a ping")
	f.DurationVar(&o.pingTimeout, "grpc-keepalive-timeout", 20*time.Second, "time to wait for the response to that ping")
	f.Uint32Var(&o.streamsMax, "max-concurrent-streams", math.MaxUint32, "maximum number of concurrent `CALLS` per connection")

	f.StringVar(&o.proxy.Namespace, "namespace", "", "`PREFIX` that is added to all keys; clients do not see it")
	f.StringVar(&o.proxy.ResolverPrefix, "resolver-prefix", "", "`PREFIX` below which the proxies of a cluster register")
	f.IntVar(&o.proxy.ResolverTTL, "resolver-ttl", 0, "`SECONDS` until the registration of a proxy that has failed expires; 0 does not register")
	f.StringVar(&o.proxy.AdvertiseURL, "advertise-client-url", "127.0.0.1:23790", "`ADDRESS` at which clients reach this proxy, for lists of members; if it is empty, clients get the list of the cluster")
	f.StringVar(&o.proxy.LeasingPrefix, "experimental-leasing-prefix", "", "`PREFIX` of the keys by which this proxy records that it owns keys; it serves reads of owned keys from memory")
	f.BoolVar(&o.proxy.Ordering, "experimental-serializable-ordering", false, "repeat a serializable read at another member if the first one is behind what the client has seen")
	f.Bool("experimental-enable-grpc-logging", false, "accepted without effect: use --debug")
	return f
}

// runGRPCProxy is "etcd grpc-proxy": it returns the exit status.
func runGRPCProxy(ctx context.Context, args []string, std streams, signals <-chan os.Signal) int {
	o := new(grpcProxyOptions)
	flags := o.flags()
	err := flags.Parse(args)
	words := flags.Args()
	switch {
	case errors.Is(err, pflag.ErrHelp) || err == nil && len(words) == 0:
		fmt.Fprint(std.out, grpcProxyHead+flags.FlagUsages())
		return exitOK
	case err == nil && !slices.Equal(words, []string{"start"}):
		err = fmt.Errorf("unexpected argument %q: want etcd grpc-proxy start [flags]", strings.TrimPrefix(strings.Join(words, " "), "start "))
	case err == nil:
		err = o.check()
	}
	if err != nil {
		fmt.Fprintln(std.err, "etcd grpc-proxy:", err)
		return exitFailure
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(logging.New(std.err, false, level))
	err = serveUntilSignal(ctx, log, func(ctx context.Context) error { return o.serve(ctx, log) }, signals)
	if err != nil {
		fmt.Fprintln(std.err, "etcd grpc-proxy:", err)
		return exitFailure
	}
	return exitOK
}

// check returns an error for flags that contradict each other.
func (o *grpcProxyOptions) check() (err error) {
	p := &o.proxy
	// 0 and less mean the limits of etcd's client library, as in etcd.
	if o.sendBytesMax <= 0 {
		o.sendBytesMax = 2 << 20
	}
	if o.recvBytesMax <= 0 {
		o.recvBytesMax = math.MaxInt32
	}
	switch {
	case p.ResolverPrefix == "" && p.ResolverTTL > 0:
		return fmt.Errorf("--resolver-ttl: invalid resolver-prefix %q: want the prefix below which the proxies register", p.ResolverPrefix)
	case p.ResolverPrefix != "" && p.ResolverTTL < 1:
		return fmt.Errorf("--resolver-ttl: invalid resolver-ttl %d: want 1 or more seconds with --resolver-prefix", p.ResolverTTL)
	case p.ResolverPrefix != "" && p.AdvertiseURL == "":
		return errors.New("--advertise-client-url: is empty: want the address at which clients reach this proxy")
	case o.autoTLS && o.selfSignedYears == 0:
		return errors.New("--self-signed-cert-validity: is 0: want 1 or more years")
	case o.recvBytesMax < o.sendBytesMax:
		return fmt.Errorf("--max-recv-bytes: is %d, less than the %d of --max-send-bytes: want at least as much", o.recvBytesMax, o.sendBytesMax)
	case (o.upstream.cert == "") != (o.upstream.key == ""):
		return errors.New("--cert, --key: want both or neither")
	}
	o.server.Role = "client"
	if o.server.MinVersion, err = certs.ParseVersion(o.tlsMin); err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	if o.server.MaxVersion, err = certs.ParseVersion(o.tlsMax); err != nil {
		return fmt.Errorf("--tls-max-version: %w", err)
	}
	if o.server.CipherSuites, err = certs.ParseCipherSuites(o.cipherSuites); err != nil {
		return fmt.Errorf("--listen-cipher-suites: %w", err)
	}
	if err := o.server.Check(); err != nil {
		return fmt.Errorf("--cert-file: %w", err)
	}
	// A port that clients take for one with TLS must not be served without it.
	if o.server.Empty() && !o.autoTLS {
		const want = "KeyFile and CertFile are not presented: want --cert-file and --key-file, or --auto-tls"
		switch {
		case o.server.TrustedCAFile != "":
			return errors.New("--trusted-ca-file: " + want)
		case o.server.CRLFile != "":
			return errors.New("--client-crl-file: " + want)
		case strings.HasPrefix(o.metrics, "https://"):
			return errors.New("--metrics-addr: " + want)
		}
	}
	return nil
}

// keepaliveTimeMin is the minimum of --dial-keepalive-time, as in grpc-go: members close the
// connections of clients that ping more than once in 5 s.
const keepaliveTimeMin = 10 * time.Second

// serve serves until ctx ends, and returns nil then.
func (o *grpcProxyOptions) serve(ctx context.Context, log *slog.Logger) error {
	own := logging.For(log, "grpc-proxy")
	client, files, err := o.dial(ctx, log)
	if err != nil {
		return err
	}
	defer client.Close()
	var tlsOf func(host string) *tls.Config
	if files != nil {
		tlsOf = func(host string) *tls.Config { return files.Dial(host) }
	}
	options := grpcclient.Options{
		Endpoints: client.Endpoints, TLS: tlsOf, Streams: client.ActiveConnection(),
		MaxSendBytes: o.sendBytesMax, MaxRecvBytes: o.recvBytesMax,
		KeepaliveTimeout: o.keepaliveFor, KeepaliveWithoutCalls: o.permitWithoutStream,
	}
	if o.keepaliveTime > 0 {
		options.KeepaliveTime = max(o.keepaliveTime, keepaliveTimeMin)
	}
	watches := grpcclient.New(options) // on connections of their own, so that they delay no calls
	defer watches.Close()
	options.IsSafe, options.Confirm = grpcproxy.IsSafe, func(ctx context.Context, c *grpcclient.Client) error { return grpcproxy.Confirm(ctx, c) }
	calls := grpcclient.New(options)
	defer calls.Close()
	listeners, err := o.listeners(ctx)
	if err != nil {
		return err
	}
	secrets, err := o.security(log)
	if err != nil {
		return err
	}
	secrets.peer = files
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go secrets.run(background)
	o.proxy.Client, o.proxy.Calls, o.proxy.Watches, o.proxy.Logger = client, calls, clusterwatch.New(watches), own
	p, err := grpcproxy.New(background, o.proxy)
	if err != nil {
		return fmt.Errorf("--experimental-leasing-prefix: %w", err)
	}
	defer p.Close()
	paths := o.paths(p, client)
	memory := clientBudget(planMemory(0, log))
	server := o.portServer(p, paths, memory, secrets, log)
	failed := make(chan error, len(listeners.all()))
	go func() {
		if err := server.Serve(listeners.client.Listener, secrets.ofClientPort(listeners.client)); !errors.Is(err, portmux.ErrServerStopped) {
			failed <- fmt.Errorf("serve %s: %w", listeners.client.Addr(), err)
		}
	}()
	if l := listeners.metrics; l != nil {
		if secrets.client != nil {
			l.Secure(secrets.client.Server("http/1.1"), secrets.failures, secrets.clientTurns)
		}
		monitor := &http.Server{Handler: paths, ReadHeaderTimeout: readHeaderTimeout}
		defer monitor.Close()
		go func() {
			if err := monitor.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("--metrics-addr: serve %s: %w", l.Addr(), err)
			}
		}()
	}
	own.Info("ready to serve client requests", "address", listeners.client.Addr().String(), "endpoints", strings.Join(client.Endpoints(), ","))
	notifyReady(own)
	return shutDownProxy(ctx, own, server, failed, p.CancelWatches)
}

// isEndpoint reports whether a text names a port of a host, or a Unix socket.
func isEndpoint(text string) bool {
	if strings.HasPrefix(text, "unix:") || strings.HasPrefix(text, "unixs:") {
		return true
	}
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(text, "http://"), "https://"), "/"))
	return err == nil && isPort(port)
}

// dial returns a client of the cluster, and the certificates for connections to it, nil if these
// use no TLS. It does not wait for a connection.
func (o *grpcProxyOptions) dial(ctx context.Context, log *slog.Logger) (client *clientv3.Client, files *certs.Source, err error) {
	list := o.endpoints
	if o.domain != "" {
		bounded, cancel := context.WithTimeout(ctx, discoveryTimeout)
		defer cancel()
		found, err := discovery.Clients(bounded, net.DefaultResolver.LookupSRV, o.domain, o.name, o.insecureSRV)
		if err != nil {
			return nil, nil, err
		}
		list = discovery.URLs(found)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("--endpoints: is empty: want HOST:PORT[,HOST:PORT…]")
	}
	for _, text := range list {
		if !isEndpoint(text) {
			return nil, nil, fmt.Errorf("--endpoints: %q is not an endpoint: want HOST:PORT[,HOST:PORT…]", text)
		}
	}
	config := clientv3.Config{
		Endpoints: list, AutoSyncInterval: o.autoSync, Context: context.WithoutCancel(ctx),
		DialTimeout: 5 * time.Second, DialKeepAliveTime: o.keepaliveTime, DialKeepAliveTimeout: o.keepaliveFor, PermitWithoutStream: o.permitWithoutStream,
		MaxCallSendMsgSize: o.sendBytesMax, MaxCallRecvMsgSize: o.recvBytesMax,
		DialOptions: upstreamDialing(o.recvBytesMax), Logger: zap.NewNop(),
	}
	o.upstream.noCommonName = true
	if files, err = upstreamSource(o.upstream, list, true, logging.For(log, "tls")); err != nil {
		return nil, nil, fmt.Errorf("--cert, --key, --cacert: %w", err)
	}
	// As in clientv3, the first endpoint decides whether the connections use TLS.
	if strings.HasPrefix(list[0], "http://") {
		files = nil
	}
	if files != nil {
		config.DialOptions = append(config.DialOptions, grpc.WithTransportCredentials(reloadedCredentials{files}))
	}
	client, err = clientv3.New(config)
	return client, files, err
}

// grpcProxyListeners are the ports.
type grpcProxyListeners struct{ client, metrics *listen.Listener }

func (l *grpcProxyListeners) all() (all []*listen.Listener) {
	for _, one := range []*listen.Listener{l.client, l.metrics} {
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

func (o *grpcProxyOptions) listeners(ctx context.Context) (l grpcProxyListeners, err error) {
	options := listen.Options{ReusePort: o.reusePort}
	scheme := "http"
	if o.autoTLS || !o.server.Empty() {
		scheme = "https"
	}
	found, err := listen.Open(ctx, []listen.Address{{Scheme: scheme, Address: o.listen}}, options)
	if err != nil {
		return l, fmt.Errorf("--listen-addr: %w", err)
	}
	l.client = found[0]
	if o.metrics == "" {
		return l, nil
	}
	scheme, address, ok := strings.Cut(o.metrics, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return l, errors.Join(fmt.Errorf("--metrics-addr: %q is not a URL: want http://HOST:PORT or https://HOST:PORT", o.metrics), l.client.Close())
	}
	if found, err = listen.Open(ctx, []listen.Address{{Scheme: scheme, Address: address}}, options); err != nil {
		return l, errors.Join(fmt.Errorf("--metrics-addr: %w", err), l.client.Close())
	}
	l.metrics = found[0]
	return l, nil
}

// security has the certificates of the client port.
func (o *grpcProxyOptions) security(log *slog.Logger) (*security, error) {
	s := newSecurity(log)
	options := o.server
	if o.autoTLS && options.Empty() {
		var err error
		options.CertFile, options.KeyFile, err = certs.SelfSigned(filepath.Join(o.dataDir, fixturesDir, "proxy"), []string{o.listen}, o.selfSignedYears, time.Now())
		if err != nil {
			return nil, fmt.Errorf("--auto-tls: %w", err)
		}
		options.SelfSigned = true
	}
	if options.Empty() {
		return s, nil
	}
	options.Logger = logging.For(log, "tls")
	var err error
	if s.client, err = certs.New(options); err != nil {
		return nil, fmt.Errorf("--cert-file, --key-file, --trusted-ca-file: %w", err)
	}
	return s, nil
}

// portServer returns the server of the client port.
func (o *grpcProxyOptions) portServer(p *grpcproxy.Proxy, paths http.Handler, memory *budget.Budget, secrets *security, log *slog.Logger) *portmux.Server {
	calls := grpcserver.New(grpcserver.Options{MaxRecvBytes: o.sendBytesMax + grpcOverheadBytes, Logger: logging.For(log, "grpc")})
	p.Register(calls)
	port := proxyPort{handler: paths, memory: memory, secrets: secrets, log: log}
	return port.server(port.engine(calls, http2.Options{
		MaxBodyBytes:         o.sendBytesMax + grpcOverheadBytes,
		MaxConcurrentStreams: o.streamsMax,
		KeepaliveMinTime:     orDefault(o.keepaliveMin, 5*time.Minute),
		KeepaliveTime:        o.pingInterval,
		KeepaliveTimeout:     o.pingTimeout,
	}))
}
