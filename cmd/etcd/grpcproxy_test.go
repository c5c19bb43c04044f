package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestGRPCProxyFlags compares the flags with the list in docs/compatibility.md.
func TestGRPCProxyFlags(t *testing.T) {
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| flag of `etcd grpc-proxy start` |")
	table, _, _ = strings.Cut(table, "\n\n")
	var listed, defined []string
	for _, row := range regexp.MustCompile("(?m)^\\| `grpc-proxy --([a-z0-9-]+)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, row[1])
	}
	new(grpcProxyOptions).flags().VisitAll(func(f *pflag.Flag) {
		defined = append(defined, f.Name)
		if f.Usage == "" {
			t.Errorf("--%s has no help", f.Name)
		}
	})
	slices.Sort(listed)
	slices.Sort(defined)
	if !slices.Equal(listed, defined) {
		t.Errorf("docs/compatibility.md lists %q, the flags are %q", listed, defined)
	}
}

// TestGRPCProxyEndpoints: what is not an endpoint is an error, instead of a proxy that waits.
func TestGRPCProxyEndpoints(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a proxy that starts ends at once
	for _, text := range []string{"http://[", "localhost", "h:x", "http://h:0", "ftp://h:1"} {
		var out, errs strings.Builder
		status := runGRPCProxy(ctx, []string{"start", "--listen-addr", "127.0.0.1:0", "--endpoints", text}, streams{&out, &errs}, make(chan os.Signal))
		if want := "--endpoints: \"" + text + "\" is not an endpoint: want HOST:PORT"; status != 1 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d: %s", text, status, errs.String())
		}
	}
	for _, text := range []string{"h:1", "[::1]:2379", "http://h:1", "https://h:1/", "unix:///tmp/s", "unixs://s"} {
		if !isEndpoint(text) {
			t.Errorf("%s is refused", text)
		}
	}
}

// TestMemberMetrics: /metrics of a member is passed on from each form of an endpoint.
func TestMemberMetrics(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "member %s", r.URL.Path) })
	overTCP := httptest.NewServer(handler)
	defer overTCP.Close()
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	overUnix := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = overUnix.Serve(l) }() // ends with Close
	defer overUnix.Close()
	for _, endpoint := range []string{overTCP.URL, overTCP.URL + "/", strings.TrimPrefix(overTCP.URL, "http://"), "unix://" + socket} {
		w := httptest.NewRecorder()
		new(grpcProxyOptions).memberMetrics(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody), []string{endpoint})
		if w.Code != http.StatusOK || w.Body.String() != "member /metrics" {
			t.Errorf("%s: %d %s", endpoint, w.Code, w.Body)
		}
	}
}

// TestGRPCProxyRefusesFlags: flags that would make a port without the TLS that they ask for, and
// limits that contradict each other, are errors at the start. Limits of 0 are the library's.
func TestGRPCProxyRefusesFlags(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a proxy that starts ends at once
	for _, c := range []struct{ args, want string }{
		{"--trusted-ca-file ca.crt", "--trusted-ca-file: KeyFile and CertFile are not presented: want --cert-file and --key-file, or --auto-tls"},
		{"--client-crl-file crl", "--client-crl-file: KeyFile and CertFile are not presented: want --cert-file and --key-file, or --auto-tls"},
		{"--metrics-addr https://127.0.0.1:0", "--metrics-addr: KeyFile and CertFile are not presented: want --cert-file and --key-file, or --auto-tls"},
		{"--max-send-bytes 10 --max-recv-bytes 5", "--max-recv-bytes: is 5, less than the 10 of --max-send-bytes: want at least as much"},
		{"--max-send-bytes 0 --max-recv-bytes 0", ""},
	} {
		var out, errs strings.Builder
		args := append([]string{"start", "--listen-addr", "127.0.0.1:0", "--endpoints", "127.0.0.1:1"}, strings.Fields(c.args)...)
		status := runGRPCProxy(ctx, args, streams{&out, &errs}, make(chan os.Signal))
		if refused := c.want != ""; refused != (status == exitFailure) || refused && errs.String() != "etcd grpc-proxy: "+c.want+"\n" {
			t.Errorf("%s: status %d: %s", c.args, status, errs.String())
		}
	}
}
