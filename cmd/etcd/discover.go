package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/config"
	"cairn/internal/discovery"
	"cairn/internal/membership"
)

// discover finds the members of the cluster with --discovery or --discovery-srv, for a member that
// does not exist yet, and returns the configuration with them. A signal ends it: other members may
// take any time to register. The addresses are bound before, so that a start that cannot succeed
// does not register with the discovery service.
func (r *reservation) discover(ctx context.Context, cfg *config.Config, log *slog.Logger, signals <-chan os.Signal) (*config.Config, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		cfg *config.Config
		err error
	}
	found := make(chan result, 1)
	go func() {
		c, err := findMembers(ctx, cfg, log)
		found <- result{c, err}
	}()
	var res result
	select {
	case s := <-signals:
		cancel()
		if res = <-found; res.err == nil {
			res.err = errors.New("they have just been found")
		}
		return nil, fmt.Errorf("stopped by a signal (%v) before the members of the cluster were found: %w", s, res.err)
	case res = <-found:
	}
	if res.err != nil {
		return nil, res.err
	}
	var err error
	if r.founders, err = res.cfg.Founders(ctx, lookupPatiently); err != nil {
		return nil, err
	}
	log.Info("found the members", "initial_cluster", res.cfg.InitialCluster)
	return res.cfg, r.check(res.cfg)
}

func findMembers(ctx context.Context, cfg *config.Config, log *slog.Logger) (*config.Config, error) {
	if cfg.Discovery.URL != "" || cfg.Discovery.V3.Token != "" {
		return register(ctx, cfg, log)
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	cluster, own, err := discovery.Members(ctx, net.DefaultResolver, cfg.Discovery.SRV, cfg.Discovery.SRVName,
		discovery.Self{Name: cfg.Name, PeerURLs: cfg.InitialAdvertisePeerURLs.Strings()})
	if err != nil {
		return nil, err
	}
	return cfg.Discovered(cluster, own, cfg.InitialClusterToken)
}

// register registers this member with the discovery service and waits for the others. The service's
// URL, or the token, is the cluster's token, as in etcd, so that members of etcd and of cairn
// derive the same IDs.
func register(ctx context.Context, cfg *config.Config, log *slog.Logger) (*config.Config, error) {
	urls := cfg.InitialAdvertisePeerURLs.Strings()
	var texts []string
	for _, u := range urls {
		texts = append(texts, cfg.Name+"="+u)
	}
	flag, token, join := "--discovery", cfg.Discovery.URL, joinByURL
	if cfg.Discovery.V3.Token != "" {
		flag, token, join = "--discovery-token", cfg.Discovery.V3.Token, joinByToken
	}
	cluster, err := join(ctx, cfg, log, membership.MemberID(urls, token), strings.Join(texts, ","))
	switch {
	case errors.Is(err, discovery.ErrFull) || errors.Is(err, discovery.ErrDuplicateID):
		return nil, fmt.Errorf("%s: %w (%s)", flag, err, token)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return cfg.Discovered(cluster, urls, token)
}

// joinByURL registers over etcd's v2 protocol.
func joinByURL(ctx context.Context, cfg *config.Config, log *slog.Logger, memberID uint64, text string) (cluster string, err error) {
	service, closeIdle, err := discoveryService(cfg, log)
	if err != nil {
		return "", err
	}
	defer closeIdle()
	return service.Join(ctx, memberID, text)
}

// discoveryService returns the service of --discovery. Its idle connections are closed at the end.
func discoveryService(cfg *config.Config, log *slog.Logger) (service *discovery.Service, closeIdle func(), err error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.Discovery.Proxy != "" {
		proxy, err := url.Parse(cfg.Discovery.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, nil, fmt.Errorf("--discovery-proxy: %q is not a URL: want http://HOST:PORT", cfg.Discovery.Proxy)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &discovery.Service{URL: cfg.Discovery.URL, Client: &http.Client{Transport: transport}, Logger: log}, transport.CloseIdleConnections, nil
}

// joinByToken registers over etcd's v3 protocol.
func joinByToken(ctx context.Context, cfg *config.Config, log *slog.Logger, memberID uint64, text string) (cluster string, err error) {
	service, err := tokenService(cfg, log)
	if err != nil {
		return "", err
	}
	return service.Join(ctx, memberID, text)
}

// tokenService returns the service of --discovery-token.
func tokenService(cfg *config.Config, log *slog.Logger) (*discovery.TokenService, error) {
	d := cfg.Discovery.V3
	c := clientv3.Config{
		Endpoints: d.Endpoints, DialTimeout: d.DialTimeout, DialKeepAliveTime: d.KeepaliveTime, DialKeepAliveTimeout: d.KeepaliveTimeout,
		Username: d.User, Password: d.Password,
		Logger: zap.NewNop(), // what fails is logged once, by the service
	}
	var err error
	if c.TLS, err = upstreamTLS(upstreamFiles{cert: d.Cert, key: d.Key, ca: d.CA, skipVerify: d.SkipVerify}, d.Endpoints, d.Insecure); err != nil {
		return nil, fmt.Errorf("--discovery-cert, --discovery-key, --discovery-cacert: %w", err)
	}
	return &discovery.TokenService{Token: d.Token, Config: c, RequestTimeout: d.RequestTimeout, Logger: log}, nil
}
