package v3cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/cmd/etcdctl/internal/cli"
)

const defaultEndpoint = "127.0.0.1:2379"

// environment gives the global options that are not on the command line the values of their
// variables: ETCDCTL_DIAL_TIMEOUT for --dial-timeout.
func environment(s *cli.Session) error {
	globals := pflag.NewFlagSet("", pflag.ContinueOnError)
	Globals(globals)
	for _, shared := range []string{"endpoints", "debug", "discovery-srv", "insecure-discovery"} {
		globals.AddFlag(s.Flags.Lookup(shared))
	}
	var fault error
	globals.VisitAll(func(f *pflag.Flag) {
		variable := "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		text := s.Getenv(variable)
		if text == "" || s.Flags.Changed(f.Name) {
			return
		}
		if err := s.Flags.Set(f.Name, text); err != nil && fault == nil {
			fault = failf(exitArgs, "%s=%s: %w", variable, text, err)
		}
	})
	return fault
}

// connect returns a client of the endpoints. It does not wait for a connection: requests do.
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

// configOf makes the client's configuration; the password is asked for here.
func configOf(s *cli.Session, endpoints []string) (clientv3.Config, error) {
	config, err := configBy(s, endpoints, "")
	config.Token = s.String("auth-jwt-token")
	if err == nil && config.Token != "" && config.Username != "" {
		return config, failf(exitArgs, "--auth-jwt-token and --user say who is asking, each another: leave one out")
	}
	return config, err
}

// configBy is configOf with the options whose names begin with a prefix, which another cluster than
// that of the endpoints has.
func configBy(s *cli.Session, endpoints []string, prefix string) (config clientv3.Config, err error) {
	config = clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          value(s.Flags.GetDuration("dial-timeout")),
		DialKeepAliveTime:    value(s.Flags.GetDuration("keepalive-time")),
		DialKeepAliveTimeout: value(s.Flags.GetDuration("keepalive-timeout")),
		MaxCallSendMsgSize:   value(s.Flags.GetInt("max-request-bytes")),
		MaxCallRecvMsgSize:   value(s.Flags.GetInt("max-recv-bytes")),
		// The client logs each attempt that failed. The error at the end says the same, once.
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

func endpointsOf(s *cli.Session) ([]string, error) {
	if domain := s.String("discovery-srv"); domain != "" {
		insecure := s.Bool("insecure-discovery") || !s.Flags.Changed("insecure-discovery")
		ctx, cancel := limited(s)
		defer cancel()
		list, err := cli.Discover(ctx, net.DefaultResolver.LookupSRV, domain, s.String("discovery-srv-name"), insecure)
		if err != nil {
			return nil, fail(exitArgs, err)
		}
		return list, nil
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
// colon, unless the password has an option of its own.
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

// tlsOf returns how to speak TLS, or nil for not at all.
func tlsOf(s *cli.Session, endpoints []string, prefix string) (*tls.Config, error) {
	cert, key, ca := s.String(prefix+"cert"), s.String(prefix+"key"), s.String(prefix+"cacert")
	skip := s.Bool(prefix + "insecure-skip-tls-verify")
	https := slices.ContainsFunc(endpoints, func(e string) bool { return strings.HasPrefix(e, "https://") })
	if cert == "" && key == "" && ca == "" && !skip && !https && s.Bool(prefix+"insecure-transport") {
		return nil, nil
	}
	// asked for, and named so
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: skip} //nolint:gosec
	switch {
	case cert != "" && key != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	case cert != "" || key != "":
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %s, cert: %s]", key, cert)
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cacert %s holds no certificate in PEM format", ca)
		}
	}
	return config, nil
}

// limited returns the context of a command that ends by itself.
func limited(s *cli.Session) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context, value(s.Flags.GetDuration("command-timeout")))
}

// call connects, and runs what a command asks of the cluster within the time it has.
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

// runOp makes the request that op reads from flags and arguments, and prints the answer to it.
func runOp(s *cli.Session, op func(*cli.Session) (clientv3.Op, error), answerOf func(*printer, clientv3.OpResponse) answer) error {
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
		return p.print(answerOf(p, r))
	})
}
