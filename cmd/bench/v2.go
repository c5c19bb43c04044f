package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
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
	flags.StringVar(&s.user, "user", s.user, "`NAME:PASSWORD` that every request brings (Basic authentication)")
}

func v2Defaults(s *settings) { s.keys = 10_000 }

// v2Workload sends HTTP/1.1 requests over connections that are kept alive. Client i has the connection i modulo
// the number of connections, by a transport per connection: one shared pool would hand them out by its own order.
type v2Workload struct {
	method     string
	keys       *keyspace
	endpoints  []endpoint
	transports []*http.Transport
	user       string
}

func newV2Workload(s settings, k *keyspace, method string) (workload, error) {
	if !strings.HasPrefix(s.prefix, "/") {
		return nil, fmt.Errorf("-prefix %q: a v2 key begins with /", s.prefix)
	}
	w := &v2Workload{method: method, keys: k, endpoints: s.endpoints, user: s.user}
	config, err := s.tls.load()
	if err != nil {
		return nil, err
	}
	for range s.connections {
		w.transports = append(w.transports, &http.Transport{
			MaxConnsPerHost:     1,
			MaxIdleConnsPerHost: 1,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
			TLSClientConfig:     config,
		})
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
	for _, t := range w.transports {
		t.CloseIdleConnections()
	}
}

func (w *v2Workload) client(i int) request {
	connection := i % len(w.transports)
	transport, to := w.transports[connection], w.endpoints[connection%len(w.endpoints)]
	rng := w.keys.random(i)
	header := http.Header{}
	if w.user != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(w.user)))
	}
	if w.method == http.MethodPut {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	path := []byte("/v2/keys")
	var body []byte
	return func(ctx context.Context, ticket uint64) (int, error) {
		path = w.keys.appendKey(path[:len("/v2/keys")], w.keys.pick(ticket, rng))
		r := (&http.Request{
			Method: w.method,
			URL:    &url.URL{Scheme: to.scheme, Host: to.address, Path: string(path)},
			Header: header,
		}).WithContext(ctx)
		if w.method == http.MethodPut {
			body = append(append(body[:0], "value="...), w.keys.value(rng)...)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		// RoundTrip rather than Client.Do: neither redirects nor cookies are wanted, and it costs less.
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated {
			return 0, v2Error(answer)
		}
		// To its end, or the connection is not used again.
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return 0, fmt.Errorf("read body: %w", err)
		}
		return 0, nil
	}
}

// v2Error makes an error of an answer that is none, leaving out what differs between requests (cause and index), so
// that equal errors are counted together.
func v2Error(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("HTTP status %d, read body: %w", answer.StatusCode, err)
	}
	var wire struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}
	const keyNotFound = 100 // EcodeKeyNotFound of etcd's v2 API
	switch {
	case json.Unmarshal(body, &wire) != nil || wire.Message == "":
		return fmt.Errorf("HTTP status %d: %.100q", answer.StatusCode, body)
	case wire.ErrorCode == keyNotFound:
		return errKeyMissing
	}
	return fmt.Errorf("HTTP status %d, v2 error %d: %s", answer.StatusCode, wire.ErrorCode, wire.Message)
}

// benchUser is whom the scenario with authentication makes root.
const benchUser = "root:bench"

// enableAuth makes the user of root and turns v2's authentication on.
func enableAuth(ctx context.Context, address string) error {
	name, password, _ := strings.Cut(benchUser, ":")
	for _, r := range []struct{ path, body string }{
		{"/v2/auth/users/" + name, fmt.Sprintf(`{"user":%q,"password":%q}`, name, password)},
		{"/v2/auth/enable", ""},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+address+r.path, strings.NewReader(r.body))
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("turn authentication on: %w", err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated {
			return fmt.Errorf("turn authentication on: PUT %s: HTTP status %d", r.path, answer.StatusCode)
		}
	}
	return nil
}
