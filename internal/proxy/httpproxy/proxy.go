package httpproxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/internal/throttle"
)

// Options configure a Proxy.
type Options struct {
	// Find returns the client URLs of the members. It is called at the start and every
	// RefreshInterval; if it fails, the list is unchanged.
	Find            func(ctx context.Context) ([]string, error)
	RefreshInterval time.Duration // 0: 30 s
	FailureWait     time.Duration // without requests, after a failure (0: 5 s)

	DialTimeout  time.Duration // 0: 1 s
	WriteTimeout time.Duration // of one write to a member; 0 is none
	// of one read from a member; 0 is none. A long poll takes longer than most limits.
	ReadTimeout time.Duration

	ReadOnly bool // refuse requests that would change keys, users, leases or the cluster

	// TLS returns the configuration of a connection to a host that uses TLS; nil is the system's
	// authorities without a certificate.
	TLS    func(host string) *tls.Config
	Logger *slog.Logger // nil discards
}

// Proxy forwards requests. It is an http.Handler for HTTP/1, and for HTTP/2 where each request is
// forwarded separately.
type Proxy struct {
	Options
	members *directory
	leader  leaderCheck
}

// New returns a proxy that knows no members until Run finds them.
func New(o Options) *Proxy {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&o.RefreshInterval, 30 * time.Second}, {&o.FailureWait, 5 * time.Second}, {&o.DialTimeout, time.Second}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TLS == nil {
		o.TLS = func(host string) *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host} }
	}
	p := &Proxy{Options: o, members: &directory{
		find: o.Find, refreshInterval: o.RefreshInterval, failureWait: o.FailureWait, log: o.Logger, changed: make(chan struct{}), failed: make(chan struct{}, 1),
		unfound: throttle.New(unfoundInterval, time.Now),
	}}
	p.members.onFailure = func() { p.leader.needed.Store(true) }
	return p
}

// Run updates the list of the members until ctx ends.
func (p *Proxy) Run(ctx context.Context) {
	p.members.run(ctx)
	for _, e := range p.members.all() {
		e.idle.close()
	}
}

// AwaitMembers returns when the members are known, or ctx ends.
func (p *Proxy) AwaitMembers(ctx context.Context) {
	for len(p.members.all()) == 0 && ctx.Err() == nil {
		p.members.awaitChange(ctx)
	}
}

// configPath is the path at which etcd's proxy lists the members that it uses.
const configPath = "/v2/config/local/proxy"

// serveConfig serves configPath.
func (p *Proxy) serveConfig(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // fails if the client has disconnected
		Endpoints []string `json:"endpoints"`
	}{p.members.urls()})
}

var errNoMembers = errors.New("zero endpoints currently available")

// unavailable is the error for a request to which no member has responded. The text begins with
// etcd's.
func unavailable(tried int, last error) error {
	if tried == 0 {
		return errNoMembers
	}
	return fmt.Errorf("unable to get response from %d endpoint(s): %w", tried, last)
}

// refuse sends the proxy's own error, in the form of etcd's proxy.
func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(struct { // likewise
		Message string `json:"message"`
	}{err.Error()})
}

// Upstream returns a client of the members, which follows their list until ctx ends. It waits until
// there are members; either all or none of them must use TLS.
func (p *Proxy) Upstream(ctx context.Context, config clientv3.Config) (*clientv3.Client, error) {
	p.AwaitMembers(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	config.Endpoints = p.members.clientURLs()
	config.TLS = p.TLS("")
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	go func() {
		for ctx.Err() == nil {
			p.members.awaitChange(ctx)
			client.SetEndpoints(p.members.clientURLs()...)
		}
	}()
	return client, nil
}
