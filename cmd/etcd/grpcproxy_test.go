package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

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
