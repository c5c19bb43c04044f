package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

var v2SetKind = workloadKind{
	name:     "v2-set",
	summary:  "v2 sets of single keys (PUT /v2/keys/…)",
	example:  "bench v2-set -connections 64 -clients 64 -keys 10000",
	defaults: v2Defaults,
	flags:    v2Flags,
	open: func(_ context.Context, s settings, k *keyspace) (workload, error) {
		return newV2Workload(s, k, http.MethodPut)
	},
}

var v2GetKind = workloadKind{
	name:     "v2-get",
	summary:  "v2 gets of single keys out of a key space filled by v2-set (GET /v2/keys/…)",
	example:  "bench v2-get -connections 64 -clients 64 -keys 10000",
	defaults: v2Defaults,
	flags:    v2Flags,
	open: func(_ context.Context, s settings, k *keyspace) (workload, error) {
		return newV2Workload(s, k, http.MethodGet)
	},
}

func v2Flags(s *settings, flags *flag.FlagSet) {
	flags.StringVar(&s.user, "user", s.user, "`NAME:PASSWORD` of every request (Basic authentication)")
}

func v2Defaults(s *settings) { s.keys = 10_000 }

// v2Workload sends HTTP/1.1 requests over persistent connections. Client i has the connection i
// modulo the number of connections.
type v2Workload struct {
	method string
	keys   *keyspace
	paths  keyspace // the same keys, escaped for a URL
	conns  []*httpConn
	user   string
}

func newV2Workload(s settings, k *keyspace, method string) (workload, error) {
	if !strings.HasPrefix(s.prefix, "/") {
		return nil, fmt.Errorf("-prefix %q: a v2 key begins with /", s.prefix)
	}
	w := &v2Workload{method: method, keys: k, paths: *k, user: s.user}
	w.paths.prefix = (&url.URL{Path: "/v2/keys" + k.prefix}).EscapedPath()
	config, err := s.tls.load()
	if err != nil {
		return nil, err
	}
	for i := range s.connections {
		w.conns = append(w.conns, &httpConn{to: s.endpoints[i%len(s.endpoints)], tls: config})
	}
	return w, nil
}

func (w *v2Workload) kinds() []string {
	if w.method == http.MethodPut {
		return []string{"set"}
	}
	return []string{"get"}
}

func (w *v2Workload) close() {
	for _, c := range w.conns {
		c.close()
	}
}

func (w *v2Workload) client(i int) request {
	conn, rng := w.conns[i%len(w.conns)], w.keys.random(i)
	r := httpRequest{method: w.method}
	if w.user != "" {
		r.header = append(r.header, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(w.user))+"\r\n"...)
	}
	if w.method == http.MethodPut {
		r.header = append(r.header, "Content-Type: application/x-www-form-urlencoded\r\n"...)
	}
	return func(ctx context.Context, ticket uint64) (int, error) {
		r.path = w.paths.appendKey(r.path[:0], w.keys.pick(ticket, rng))
		if w.method == http.MethodPut {
			r.body = append(append(r.body[:0], "value="...), w.keys.value(rng)...)
		}
		return 0, conn.do(ctx, r, checkV2)
	}
}

// checkV2 returns an error unless the response is a success.
func checkV2(status int, body []byte, err error) error {
	switch {
	case status != http.StatusOK && status != http.StatusCreated:
		return v2Error(status, body, err)
	case err != nil:
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

// v2Error makes an error from an unsuccessful response, without the parts that differ between
// requests (cause and index), so that equal errors are counted together. err is the error of
// reading the body.
func v2Error(status int, body []byte, err error) error {
	if err != nil {
		return fmt.Errorf("HTTP status %d, read body: %w", status, err)
	}
	var wire struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}
	const keyNotFound = 100 // EcodeKeyNotFound of etcd's v2 API
	switch {
	case json.Unmarshal(body, &wire) != nil || wire.Message == "":
		return fmt.Errorf("HTTP status %d: %.100q", status, body)
	case wire.ErrorCode == keyNotFound:
		return errKeyMissing
	}
	return fmt.Errorf("HTTP status %d, v2 error %d: %s", status, wire.ErrorCode, wire.Message)
}

// benchUser gets the role root in the scenario with authentication.
const benchUser = "root:bench"

// enableAuth creates the user root and enables v2's authentication.
func enableAuth(ctx context.Context, s *server) error {
	transport := &http.Transport{}
	if s.secret != nil {
		transport.TLSClientConfig = s.secret.config
	}
	defer transport.CloseIdleConnections()
	name, password, _ := strings.Cut(benchUser, ":")
	for _, r := range []struct{ path, body string }{
		{"/v2/auth/users/" + name, fmt.Sprintf(`{"user":%q,"password":%q}`, name, password)},
		{"/v2/auth/enable", ""},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.scheme()+"://"+s.client+r.path, strings.NewReader(r.body))
		if err != nil {
			return err
		}
		response, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			return fmt.Errorf("enable authentication: %w", err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
			return fmt.Errorf("enable authentication: PUT %s: HTTP status %d", r.path, response.StatusCode)
		}
	}
	return nil
}
