package v2cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/reach"
	"cairn/cmd/etcdctl/internal/v2client"
	"cairn/internal/discovery"
)

// defaultEndpoints are etcd's client port and its client port before 2.0.
const defaultEndpoints = "http://127.0.0.1:2379,http://127.0.0.1:4001"

// connect returns a client of all members of the cluster or, with --no-sync, of the given
// endpoints.
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
			return nil, unreachable(s, exitConnection, err)
		case err != nil:
			// The endpoint responded, but does not list members; it may still serve the request.
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
	if err := timeoutsFromEnvironment(s); err != nil {
		return nil, err
	}
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

// ask sends one request, limited by --total-timeout.
func ask(s *cli.Session, do func(context.Context, *v2client.Client) (*v2client.Response, error)) (*v2client.Response, error) {
	c, err := connect(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := limited(s)
	defer cancel()
	r, err := do(ctx, c)
	if err != nil {
		return nil, unreachable(s, exitServer, err, c.Endpoints()...)
	}
	return r, nil
}

// limited returns a context limited by --total-timeout.
func limited(s *cli.Session) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context, value(s.Flags.GetDuration("total-timeout")))
}

// timeoutsFromEnvironment sets the time-outs that are not on the command line from their
// environment variables: --total-timeout from ETCDCTL_TOTAL_TIMEOUT. It does nothing at its second
// call.
func timeoutsFromEnvironment(s *cli.Session) error {
	for _, name := range []string{"timeout", "total-timeout"} {
		if err := s.FromEnvironment(name); err != nil {
			return plain("%v", err)
		}
	}
	return nil
}

// option returns the value of an option or, if it is not given, of its environment variable.
func option(s *cli.Session, name string) string {
	if text := s.Flags.Lookup(name).Value.String(); s.Flags.Changed(name) && text != "" {
		return text
	}
	return s.Getenv(cli.Variable(name))
}

// endpointsOf returns the endpoints. The newest of the three names of the option takes precedence;
// for each name the option takes precedence over the variable.
func endpointsOf(s *cli.Session) ([]string, error) {
	if domain := option(s, "discovery-srv"); domain != "" {
		ctx, cancel := limited(s)
		defer cancel()
		list, err := discovery.Clients(ctx, net.DefaultResolver.LookupSRV, domain, "", s.Bool("insecure-discovery"))
		if err != nil {
			return nil, plain("%v", err)
		}
		return discovery.URLs(list), nil
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

// transportOf returns the HTTP transport; it uses TLS for https:// endpoints.
func transportOf(s *cli.Session) (*http.Transport, error) {
	tlsConfig, err := tlsOf(s)
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

// tlsOf returns the TLS configuration for https:// endpoints.
func tlsOf(s *cli.Session) (*tls.Config, error) {
	f := reach.Files{
		Cert: option(s, "cert-file"), Key: option(s, "key-file"), CA: option(s, "ca-file"),
		CertOption: "--cert-file", KeyOption: "--key-file", CAOption: "--ca-file",
	}
	switch {
	case f.Cert != "" && f.Key == "":
		return nil, fmt.Errorf("--cert-file %s has no key: give --key-file too", f.Cert)
	case f.Cert == "" && f.Key != "":
		return nil, fmt.Errorf("--key-file %s has no certificate: give --cert-file too", f.Key)
	}
	return f.Config()
}

// advice returns a line for each unhealthy endpoint: the cause, and what to do. If the error is
// self-explaining, it returns lines only for the default endpoints. tried are the endpoints of the
// request, when these are not those that the user has given.
func advice(s *cli.Session, tried []string, selfExplaining bool) string {
	endpoints, err := endpointsOf(s)
	defaults := strings.Join(endpoints, ",") == defaultEndpoints
	if err != nil || selfExplaining && !defaults {
		return ""
	}
	if !defaults && len(tried) > 0 {
		endpoints = tried
	}
	o := reach.Options{
		HasCert: option(s, "cert-file") != "", CAOption: "--ca-file", CertOption: "--cert-file", KeyOption: "--key-file",
		Timeout: value(s.Flags.GetDuration("timeout")),
	}
	if o.TLS, err = tlsOf(s); err != nil {
		return ""
	}
	text := ""
	for _, line := range reach.All(s.Context, endpoints, o) {
		text += "  " + line + "\n"
	}
	if text != "" && defaults {
		text += "  these are the default endpoints (4001 is the client port of etcd before 2.0): set --endpoints or ETCDCTL_ENDPOINTS\n"
	}
	return text
}

// value returns the value of a flag. It panics if the command does not have the flag.
func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
