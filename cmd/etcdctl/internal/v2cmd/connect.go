package v2cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

// defaultEndpoints are the ports that etcd has now and had before it had a number of its own.
const defaultEndpoints = "http://127.0.0.1:2379,http://127.0.0.1:4001"

// connect returns a client that knows the cluster's members, unless --no-sync.
func connect(s *cli.Session) (*v2client.Client, error) {
	c, err := connectAsGiven(s)
	if err != nil {
		return nil, err
	}
	debug := func(format string, args ...any) {
		if s.Bool("debug") {
			fmt.Fprintf(s.Err, format+"\n", args...)
		}
	}
	if !s.Bool("no-sync") {
		debug("start to sync cluster using endpoints(%s)", strings.Join(c.Endpoints(), ","))
		ctx, cancel := limited(s)
		defer cancel()
		switch err := c.Sync(ctx); {
		case errors.Is(err, v2client.ErrNoEndpoints):
			return nil, &cli.Exit{Code: exitServer, Message: fmt.Sprintf("the members of the cluster publish no client URLs: "+
				"use --no-sync to keep to the endpoints given (%s)\nError:  %v\n", strings.Join(c.Endpoints(), ","), err)}
		case err != nil && v2client.Unreachable(err):
			return nil, fail(exitConnection, err)
		case err != nil:
			// Something answered, but not what a member answers; it may still do what was asked
			// for.
			debug("no members from endpoints(%s): %s", strings.Join(c.Endpoints(), ","), strings.TrimSpace(err.Error()))
		default:
			debug("got endpoints(%s) after sync", strings.Join(c.Endpoints(), ","))
		}
	}
	debug("Cluster-Endpoints: %s", strings.Join(c.Endpoints(), ", "))
	return c, nil
}

// connectAsGiven returns a client for the endpoints given.
func connectAsGiven(s *cli.Session) (*v2client.Client, error) {
	endpoints, err := endpointsOf(s)
	if err != nil {
		return nil, err
	}
	transport, err := transportOf(s)
	if err != nil {
		return nil, err
	}
	config := v2client.Config{Endpoints: endpoints, Transport: transport, HeaderTimeout: value(s.Flags.GetDuration("timeout"))}
	if user := option(s, "username"); user != "" {
		var given bool
		if config.Username, config.Password, given = strings.Cut(user, ":"); !given {
			if config.Password, err = s.Password("Password: "); err != nil {
				return nil, plain("%v", err)
			}
		}
	}
	if s.Bool("debug") {
		config.Trace = func(curl string) { fmt.Fprintln(s.Err, "cURL Command:", curl) }
	}
	c, err := v2client.New(config)
	if err != nil {
		return nil, plain("%v", err)
	}
	return c, nil
}

// ask makes one request, in the time that it may take.
func ask(s *cli.Session, do func(context.Context, *v2client.Client) (*v2client.Response, error)) (*v2client.Response, error) {
	c, err := connect(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := limited(s)
	defer cancel()
	r, err := do(ctx, c)
	if err != nil {
		return nil, fail(exitServer, err)
	}
	return r, nil
}

// limited returns the context of everything but watching.
func limited(s *cli.Session) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context, value(s.Flags.GetDuration("total-timeout")))
}

// option returns what an option says or, where it is not given, its variable: ETCDCTL_CA_FILE for
// ca-file.
func option(s *cli.Session, name string) string {
	if text := s.Flags.Lookup(name).Value.String(); s.Flags.Changed(name) && text != "" {
		return text
	}
	return s.Getenv("ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// endpointsOf finds the endpoints. Of their three names the newest goes first, as an option and as
// a variable, before an older one.
func endpointsOf(s *cli.Session) ([]string, error) {
	if domain := option(s, "discovery-srv"); domain != "" {
		ctx, cancel := limited(s)
		defer cancel()
		list, err := cli.Discover(ctx, net.DefaultResolver.LookupSRV, domain, "", s.Bool("insecure-discovery"))
		if err != nil {
			return nil, plain("%v", err)
		}
		return list, nil
	}
	list := strings.Join(value(s.Flags.GetStringSlice("endpoints")), ",")
	if list == "" {
		list = s.Getenv("ETCDCTL_ENDPOINTS")
	}
	for _, old := range []string{"endpoint", "peers"} {
		if list == "" {
			list = option(s, old)
		}
	}
	if list == "" {
		list = defaultEndpoints
	}
	return strings.Split(list, ","), nil
}

// transportOf returns what carries the requests, over TLS where an endpoint says https.
func transportOf(s *cli.Session) (*http.Transport, error) {
	tlsConfig, err := tlsOf(option(s, "cert-file"), option(s, "key-file"), option(s, "ca-file"))
	if err != nil {
		return nil, plain("%v", err)
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: value(s.Flags.GetDuration("timeout")), KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     tlsConfig,
		DisableCompression:  true,
	}, nil
}

func tlsOf(cert, key, ca string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case cert != "" && key != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--cert-file %s, --key-file %s: %w", cert, key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	case cert != "":
		return nil, fmt.Errorf("--cert-file %s has no key: give --key-file too", cert)
	case key != "":
		return nil, fmt.Errorf("--key-file %s has no certificate: give --cert-file too", key)
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file %s holds no certificate in PEM format", ca)
		}
	}
	return config, nil
}

// value returns the value of a flag, which a command that asks for it has.
func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
