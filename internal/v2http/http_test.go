package v2http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"cairn/internal/kv"
	"cairn/internal/v2tree"
)

// TestTranscripts runs testdata/http over a real connection. A block is
//
//	send [type=CONTENT-TYPE] [repeat=N]   requests, one per line: METHOD target [body]
//	time by=DURATION                       advances time, and expires due nodes
//
// The output has a response's status, the headers of the API and the body.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/http", func(t *testing.T, path string) {
		since := time.Hour
		s := newTree(t, func() kv.ClusterTime { return kv.ClusterTime(since) })
		h := New(Options{Backend: s})
		h.wall = func() time.Time { return time.Date(2017, 4, 10, 11, 46, 44, 123456789, time.UTC).Add(since) }
		server := httptest.NewServer(h)
		defer server.Close()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "send":
				kind := "application/x-www-form-urlencoded"
				d.MaybeScanArgs(t, "type", &kind)
				var out strings.Builder
				for _, line := range strings.Split(d.Input, "\n") {
					send(t, &out, server, line, kind)
				}
				return out.String()
			case "time":
				var by string
				d.ScanArgs(t, "by", &by)
				passed, err := time.ParseDuration(by)
				if err != nil {
					t.Fatal(err)
				}
				since += passed
				if err := s.expire(); err != nil {
					t.Fatal(err)
				}
				return ""
			default:
				t.Fatalf("unknown command %q", d.Cmd)
				return ""
			}
		})
	})
}

func send(t *testing.T, out *strings.Builder, server *httptest.Server, line, kind string) {
	method, rest, _ := strings.Cut(line, " ")
	target, body, hasBody := strings.Cut(rest, " ")
	req, err := http.NewRequest(method, server.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if hasBody {
		req.Header.Set("Content-Type", kind)
	}
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to the end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(out, "%d", resp.StatusCode)
	var headers []string
	for name, values := range resp.Header {
		switch name {
		case "Date", "Content-Length", "X-Content-Type-Options":
		case "Content-Type":
			if values[0] != "application/json" {
				headers = append(headers, "type="+values[0])
			}
		case "X-Etcd-Cluster-Id":
			if values[0] != "cdf818194e3a8c32" {
				headers = append(headers, "cluster="+values[0])
			}
		default:
			headers = append(headers, strings.TrimPrefix(strings.ToLower(name), "x-")+"="+values[0])
		}
	}
	slices.Sort(headers)
	fmt.Fprintf(out, " [%s]\n%s", strings.Join(headers, ", "), text)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		out.WriteString(" (no line end)\n")
	}
}

// TestNoSpace: while space is exhausted, requests that add data are refused, and others are served.
func TestNoSpace(t *testing.T) {
	s := newTree(t, func() kv.ClusterTime { return 1 })
	h := New(Options{Backend: s})
	status := func(method, target string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/v2/keys"+target, nil))
		return w.Code
	}
	status("PUT", "/a?value=1")
	s.full = errors.New("no space")
	for _, request := range []struct {
		method, target string
		want           int
	}{{"PUT", "/a?value=2", 500}, {"POST", "/q", 500}, {"GET", "/a", 200}, {"DELETE", "/a", 200}} {
		if got := status(request.method, request.target); got != request.want {
			t.Errorf("%s %s: %d, want %d", request.method, request.target, got, request.want)
		}
	}
}

// TestDeepPath refuses paths of more names than v2 has, also of the in-order key below one.
func TestDeepPath(t *testing.T) {
	s := newTree(t, func() kv.ClusterTime { return 1 })
	h := New(Options{Backend: s})
	for names, want := range map[int]map[string]int{
		1023:  {"PUT": 201, "POST": 201, "GET": 200},
		1024:  {"PUT": 201, "POST": 400, "GET": 200},
		1025:  {"PUT": 400, "POST": 400, "GET": 400},
		30000: {"PUT": 400, "POST": 400, "GET": 400, "DELETE": 400},
	} {
		path := fmt.Sprint("/v2/keys/", names, strings.Repeat("/d", names-1))
		for _, method := range []string{"POST", "PUT", "GET", "DELETE"} {
			target := path
			if method == "PUT" && want["POST"] == 201 {
				target = strings.TrimSuffix(path, "d") + "e" // the path itself is a queue now
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
			if code := want[method]; code != 0 && w.Code != code {
				t.Errorf("%s of %d names: %d %.200s", method, names, w.Code, w.Body)
			}
			if w.Code == http.StatusBadRequest && !strings.Contains(w.Body.String(), `"errorCode":209`) {
				t.Errorf("%s of %d names: %.200s", method, names, w.Body)
			}
		}
	}
}

// TestFailures checks the responses to failures of the member.
func TestFailures(t *testing.T) {
	s := newTree(t, func() kv.ClusterTime { return 1 })
	h := New(Options{Backend: s})
	for _, tc := range []struct {
		err   error
		cause string
	}{
		{errors.New("no leader"), "etcdserver: no leader"},
		{context.DeadlineExceeded, "etcdserver: request timed out"},
		{fmt.Errorf("wait: %w", context.Canceled), "etcdserver: request cancelled"},
	} {
		s.fail = tc.err
		for _, request := range []string{"PUT /v2/keys/a", "DELETE /v2/keys/a", "POST /v2/keys/a", "GET /v2/keys/a?quorum=true"} {
			method, target, _ := strings.Cut(request, " ")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
			want := `{"errorCode":300,"message":"Raft Internal Error","cause":"` + tc.cause + `","index":0}` + "\n"
			if got := w.Body.String(); w.Code != 500 || got != want || w.Header().Get("X-Etcd-Index") != "0" {
				t.Errorf("%s, %v: %d %s", request, tc.err, w.Code, got)
			}
			if w.Header().Get("X-Raft-Index") != "" {
				t.Errorf("%s, %v: X-Raft-Index in a failure", request, tc.err)
			}
		}
	}
}

// TestWireErrors compares the table with etcd's documentation of error codes.
func TestWireErrors(t *testing.T) {
	want := map[int]string{
		100: "404 Key not found",
		101: "412 Compare failed",
		102: "403 Not a file",
		104: "400 Not a directory",
		105: "412 Key already exists",
		107: "400 Root is read only",
		108: "403 Directory not empty",
		110: "401 The request requires user authentication",
		201: "400 PrevValue is Required in POST form",
		202: "400 The given TTL in POST form is not a number",
		203: "400 The given index in POST form is not a number",
		209: "400 Invalid field",
		210: "400 Invalid POST form",
		211: "400 Value provided on refresh",
		212: "400 A TTL must be provided on refresh",
		300: "500 Raft Internal Error",
		401: "400 The event in requested index is outdated and cleared",
	}
	for code, e := range wireErrors {
		if got := fmt.Sprintf("%d %s", e.status, e.message); got != want[code] {
			t.Errorf("code %d is %q, want %q", code, got, want[code])
		}
	}
	if len(wireErrors) != len(want) {
		t.Errorf("%d codes, want %d", len(wireErrors), len(want))
	}
	if got := string(appendError(nil, &v2tree.Error{Code: 102, Index: 7})); got != `{"errorCode":102,"message":"Not a file","index":7}`+"\n" {
		t.Errorf("an error without a cause: %s", got)
	}
}
