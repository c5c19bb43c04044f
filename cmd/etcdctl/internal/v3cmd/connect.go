package v3cmd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/reach"
	"cairn/internal/discovery"
)

const defaultEndpoint = "127.0.0.1:2379"

// environment sets the global options that are not on the command line from their environment
// variables: --dial-timeout from ETCDCTL_DIAL_TIMEOUT.
func environment(s *cli.Session) error {
	globals := pflag.NewFlagSet("", pflag.ContinueOnError)
	Globals(globals)
	for _, shared := range []string{"endpoints", "debug", "discovery-srv", "insecure-discovery"} {
		globals.AddFlag(s.Flags.Lookup(shared))
	}
	var fault error
	globals.VisitAll(func(f *pflag.Flag) {
		if err := s.FromEnvironment(f.Name); err != nil && fault == nil {
			fault = fail(exitArgs, err)
		}
	})
	return fault
}

// connect returns a client of the endpoints. It does not wait for a connection.
func connect(s *cli.Session) (*clientv3.Client, error) {
	endpoints, err := endpointsOf(s)
	if err != nil {
		return nil, err
	}
	config, err := configOf(s, endpoints)
	if err != nil {
		return nil, err
	}
	return open(config)
}

func open(config clientv3.Config) (*clientv3.Client, error) {
	c, err := clientv3.New(config)
	if err != nil {
		return nil, fail(exitConnection, err)
	}
	return c, nil
}

// configOf returns the configuration of the client. It reads the password if necessary.
func configOf(s *cli.Session, endpoints []string) (clientv3.Config, error) {
	config, err := configBy(s, endpoints, "")
	config.Token = s.String("auth-jwt-token")
	if err == nil && config.Token != "" && config.Username != "" {
		return config, failf(exitArgs, "--auth-jwt-token and --user exclude each other: give one of them")
	}
	return config, err
}

// configBy is configOf with the options whose names begin with a prefix: make-mirror has a second
// set for its destination.
func configBy(s *cli.Session, endpoints []string, prefix string) (config clientv3.Config, err error) {
	config = clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          value(s.Flags.GetDuration("dial-timeout")),
		DialKeepAliveTime:    value(s.Flags.GetDuration("keepalive-time")),
		DialKeepAliveTimeout: value(s.Flags.GetDuration("keepalive-timeout")),
		MaxCallSendMsgSize:   byteCount(s, "max-request-bytes"),
		MaxCallRecvMsgSize:   byteCount(s, "max-recv-bytes"),
		// The client logs each failed attempt; the error at the end reports the same, once.
		Logger: zap.NewNop(),
	}
	if s.Bool("debug") {
		if config.Logger, err = zap.NewDevelopment(); err != nil {
			return config, fail(exitError, err)
		}
	}
	if config.TLS, err = tlsOf(s, endpoints, prefix); err != nil {
		return config, fail(exitArgs, err)
	}
	if config.Username, config.Password, err = userOf(s, prefix); err != nil {
		return config, fail(exitError, err)
	}
	return config, nil
}

// insecureDiscovery returns the value of --insecure-discovery, whose default is true in v3 alone.
func insecureDiscovery(s *cli.Session) bool {
	return s.Bool("insecure-discovery") || !s.Flags.Changed("insecure-discovery")
}

func endpointsOf(s *cli.Session) ([]string, error) {
	if domain := s.String("discovery-srv"); domain != "" {
		ctx, cancel := limited(s)
		defer cancel()
		list, err := discovery.Clients(ctx, net.DefaultResolver.LookupSRV, domain, s.String("discovery-srv-name"), insecureDiscovery(s))
		if err != nil {
			return nil, fail(exitError, err)
		}
		return discovery.URLs(list), nil
	}
	list := value(s.Flags.GetStringSlice("endpoints"))
	list = slices.DeleteFunc(slices.Clone(list), func(e string) bool { return e == "" })
	switch {
	case len(list) == 0 && s.Flags.Changed("endpoints"):
		return nil, fail(exitConnection, clientv3.ErrNoAvailableEndpoints)
	case len(list) == 0:
		list = []string{defaultEndpoint}
	}
	return list, nil
}

// userOf returns the user and the password to authenticate with. The user's name ends at the first
// colon, unless --password is given.
func userOf(s *cli.Session, prefix string) (name, password string, err error) {
	name, password = s.String(prefix+"user"), s.String(prefix+"password")
	if name == "" || password != "" {
		return name, password, nil
	}
	name, password, given := strings.Cut(name, ":")
	if !given {
		password, err = s.Password("Password: ")
	}
	return name, password, err
}

// tlsOf returns the TLS configuration, or nil if the endpoints are reached without TLS.
func tlsOf(s *cli.Session, endpoints []string, prefix string) (*tls.Config, error) {
	cert, key, ca := s.String(prefix+"cert"), s.String(prefix+"key"), s.String(prefix+"cacert")
	skip := s.Bool(prefix + "insecure-skip-tls-verify")
	https := slices.ContainsFunc(endpoints, func(e string) bool { return strings.HasPrefix(e, "https://") })
	if cert == "" && key == "" && ca == "" && !skip && !https && s.Bool(prefix+"insecure-transport") {
		return nil, nil
	}
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %s, cert: %s]", key, cert)
	}
	return reach.Files{
		Cert: cert, Key: key, CA: ca, SkipVerify: skip,
		CertOption: "--" + prefix + "cert", KeyOption: "--" + prefix + "key", CAOption: "--" + prefix + "cacert",
	}.Config()
}

// limited returns a context limited by --command-timeout.
func limited(s *cli.Session) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context, value(s.Flags.GetDuration("command-timeout")))
}

// call connects and runs the requests of a command, limited by --command-timeout.
func call(s *cli.Session, do func(ctx context.Context, c *clientv3.Client) error) error {
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := limited(s)
	defer cancel()
	return do(ctx, c)
}

// runOp sends the request that op makes from flags and arguments, and prints the response.
func runOp(s *cli.Session, op func(*cli.Session) (clientv3.Op, error), responseOf func(*printer, clientv3.OpResponse) response) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	asked, err := op(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Do(ctx, asked)
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(responseOf(p, r))
	})
}
