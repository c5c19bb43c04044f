package discovery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// responder is a discovery service: it returns the response to a method and the path behind the
// URL.
type responder func(method, below string) (status int, body string)

func (f responder) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r.Method, strings.TrimPrefix(r.URL.Path, "/token"))
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"X-Etcd-Index": {"7"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func serving(f responder) *Service {
	return &Service{URL: "http://x/token", Client: &http.Client{Transport: f}, Logger: slog.New(slog.DiscardHandler)}
}

// TestJoinFailures checks the errors that a member stops with.
func TestJoinFailures(t *testing.T) {
	const ok, created = http.StatusOK, http.StatusCreated
	size := func(n string) string { return `{"node":{"key":"/token/_config/size","value":"` + n + `"}}` }
	list := func(members string) string {
		return `{"node":{"key":"/token","dir":true,"nodes":[{"key":"/token/_config","dir":true,"createdIndex":1}` + members + `]}}`
	}
	for _, c := range []struct {
		size, before, after, fault string
	}{
		{size("0"), "", "", `discovery: size key is bad: want a number of members, 1 or more; it is "0"`},
		{size("1001"), "", "", "discovery: size key is bad"},
		{`{"errorCode":100,"message":"Key not found"}`, "", "", "discovery: size key not found"},
		{`{"errorCode":110,"message":"no"}`, "", "", "discovery: read the size: no (110)"},
		{size("1"), list(`,{"key":"/token/1","value":"a=http://a","createdIndex":2}`), "", "discovery: found duplicate id"},
		{size("1"), list(`,{"key":"/token/2","value":"a=http://a","createdIndex":2}`), "", "discovery: cluster is full"},
		// another member was faster
		{size("1"), list(""), list(`,{"key":"/token/1","value":"a=http://a","createdIndex":3},{"key":"/token/2","value":"b=http://b","createdIndex":2}`), "discovery: cluster is full"},
		{size("2"), list(""), list(`,{"key":"/token/1","value":"a=http://a","createdIndex":3},{"key":"/token/2","value":"a=http://b","createdIndex":2}`), `discovery: found duplicate name: two members are called "a"`},
		{size("2"), list(""), list(`,{"key":"/token/1","value":"a=http://a","createdIndex":3},{"key":"/token/2","value":"x","createdIndex":2}`), `discovery: the registered members are no list of members: "x" is no NAME=URL`},
	} {
		lists := []string{c.before, c.after}
		s := serving(func(method, below string) (int, string) {
			switch {
			case method == http.MethodPut:
				return created, `{"node":{}}`
			case below == "/_config/size":
				return ok, c.size
			}
			body := lists[0]
			lists = lists[1:]
			return ok, body
		})
		if got, err := s.Join(context.Background(), 1, "a=http://a"); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
	for _, u := range []string{"", "token", "ftp://x/token", "http:///token", "http://x/token?a=b"} {
		if _, err := (&Service{URL: u}).Join(context.Background(), 1, "a=http://a"); err == nil || !strings.Contains(err.Error(), "discovery: invalid URL") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// TestJoinRetries: requests to an unreachable service are retried, a registration whose response is
// lost counts, and the end of the context ends the attempts.
func TestJoinRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, there := 0, false
		s := serving(func(method, below string) (int, string) {
			attempts++
			switch {
			case attempts == 1:
				return 0, ""
			case attempts == 2:
				return http.StatusServiceUnavailable, "<html>"
			case method == http.MethodPut && !there:
				there = true
				return 0, ""
			case method == http.MethodPut:
				return http.StatusPreconditionFailed, `{"errorCode":105,"message":"Key already exists"}`
			case below == "/_config/size":
				return http.StatusOK, `{"node":{"value":"1"}}`
			case there:
				return http.StatusOK, `{"node":{"nodes":[{"key":"/token/1","value":"a=http://a"}]}}`
			}
			return http.StatusOK, `{"node":{}}`
		})
		if got, err := s.Join(t.Context(), 1, "a=http://a"); err != nil || got != "a=http://a" {
			t.Errorf("got %q, %v after %d requests", got, err, attempts)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		_, err := serving(func(string, string) (int, string) { return 0, "" }).Join(ctx, 1, "a=http://a")
		if err == nil || !strings.Contains(err.Error(), "connection refused") || time.Since(begun) != time.Hour {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
	})
}

// FuzzResponse: no response of a discovery service makes the caller panic.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"node":{"value":"1","nodes":[{"key":"/token/1","value":"a=http://a"}]}}`), 200)
	f.Add([]byte(`{"errorCode":100}`), 404)
	f.Add(bytes.Repeat([]byte("["), 100), 500)
	f.Fuzz(func(_ *testing.T, body []byte, status int) {
		if status == 0 {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // no retries
		s := serving(func(string, string) (int, string) { return status, string(body) })
		if r, err := s.list(ctx); err == nil && len(r.members) >= r.size {
			_, _ = r.cluster()
			r.find("1")
		}
	})
}
