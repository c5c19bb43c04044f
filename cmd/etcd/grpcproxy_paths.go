package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/internal/proxy/grpcproxy"
)

// proxyHealthTimeout is for the read with which /health and /proxy/health look whether the cluster
// serves.
const proxyHealthTimeout = 5 * time.Second

// paths serves HTTP on the client port, as etcd's gRPC proxy does: /metrics of a member, and the
// proxy's own below /proxy/.
func (o *grpcProxyOptions) paths(p *grpcproxy.Proxy, client *clientv3.Client) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(p.Metrics.Collectors()...)
	mux := http.NewServeMux()
	mux.Handle("/proxy/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	health := func(w http.ResponseWriter, r *http.Request) { proxyHealth(w, r, client) }
	mux.HandleFunc("/health", health)
	mux.HandleFunc("/proxy/health", health)
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) { o.memberMetrics(w, r, client.Endpoints()) })
	if o.pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// proxyHealth reports whether the cluster serves linearizable reads. A response that this user has
// no permission proves that it does.
func proxyHealth(w http.ResponseWriter, r *http.Request, client *clientv3.Client) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), proxyHealthTimeout)
	defer cancel()
	w.Header().Set("Content-Type", "application/json")
	_, err := client.Get(ctx, "health", clientv3.WithCountOnly())
	if err == nil || errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrUserEmpty) {
		fmt.Fprint(w, `{"health":"true"}`)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, `{"health":"false","reason":%q}`, err.Error())
}

// memberMetrics passes on /metrics of one of the members.
func (o *grpcProxyOptions) memberMetrics(w http.ResponseWriter, r *http.Request, endpoints []string) {
	config, err := upstreamTLS(o.upstream, endpoints, true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for _, i := range rand.Perm(len(endpoints)) {
		at, transport := strings.TrimSuffix(withSchemeOf(endpoints[i], config), "/"), &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		if scheme, path, _ := strings.Cut(at, "://"); strings.HasPrefix(scheme, "unix") {
			at = strings.Replace(scheme, "unix", "http", 1) + "://localhost"
			transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
		}
		client := &http.Client{Transport: transport, Timeout: proxyHealthTimeout}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, at+r.URL.Path, http.NoBody)
		if err != nil {
			continue
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // fails if one side has disconnected
		resp.Body.Close()
		return
	}
	http.Error(w, "no member can be reached", http.StatusServiceUnavailable)
}

func withSchemeOf(endpoint string, config *tls.Config) string {
	switch {
	case strings.Contains(endpoint, "://"):
		return endpoint
	case config != nil:
		return "https://" + endpoint
	}
	return "http://" + endpoint
}
