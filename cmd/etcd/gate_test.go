package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFirstOfThree starts the first member of a cluster of three: it reports at once what it waits
// for, and requests wait.
func TestFirstOfThree(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--name", "n1", "--initial-advertise-peer-urls", "http://127.0.0.1:1",
		"--initial-cluster", "n1=http://127.0.0.1:1,n2=http://127.0.0.1:2,n3=http://127.0.0.1:3")...)
	client := p.await(`listening for client requests url=(\S+)`)[1]
	const reason = "1 of 3 members up, waiting for a majority"
	for path, want := range map[string]string{
		"/health":                    `{"health": "false"}`,
		"/health?serializable=false": "RAFT NO LEADER: " + reason,
		"/version":                   `"etcdcluster":"not_decided"`,
		"/readyz":                    "linearizable_read failed: etcdserver: no leader: " + reason,
		"/":                          "Requests wait: " + reason,
		"/livez":                     "ok",
	} {
		// The timeout of a health check that asks the cluster is 7 s. A busy machine may take as
		// long for one response, and not for each.
		ask := func() (took time.Duration) {
			asked := time.Now()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, client+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "*/*")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !strings.Contains(string(body), want) {
				t.Errorf("%s: %q, %v; want %q", path, body, err, want)
			}
			return time.Since(asked)
		}
		took := ask()
		for n := 0; took > 5*time.Second && n < 10; n++ {
			took = ask()
		}
		if took > 5*time.Second {
			t.Errorf("%s took %v", path, took)
		}
	}
	p.await(reason)

	for _, path := range []string{"/v2/members", "/v2/keys/a"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, client+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s does not wait: %v, %v", path, resp, err)
		}
		cancel()
	}
	waiting := make(chan error, 1)
	go func() {
		resp, err := http.Post(client+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"YQ=="}`))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				err = errors.New(resp.Status)
			}
		}
		waiting <- err
	}()
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
	<-waiting // it ends; the connection may have been closed before it was read
}
