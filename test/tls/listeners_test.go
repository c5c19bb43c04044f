package tls_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestUnixAndHTTPOnly uses sockets with and without TLS, and --listen-client-http-urls.
func TestUnixAndHTTPOnly(t *testing.T) {
	c := makeCertificates(t)
	dir := t.TempDir()
	m := newMember(t, "m")
	m.start(t, dir, "https", "http", []*member{m}, append(c.flags(""), "--listen-client-http-urls", "http://"+m.metrics, "--wal-dir", filepath.Join(dir, "wal"))...)
	m.await(t, ready)
	ctx, cancel := within(time.Minute)
	defer cancel()
	if err := apis["gRPC"](ctx, "https", m.client, c.client("")); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if err := apis["v2"](ctx, "http", m.metrics, nil); err != nil {
		t.Errorf("v2 on the port for HTTP: %v", err)
	}
	if err := apis["v2"](ctx, "https", m.client, c.client("")); err == nil {
		t.Error("HTTP is served on the port for gRPC")
	}
	short, cancelShort := within(refusedAfter)
	defer cancelShort()
	if err := apis["gRPC"](short, "http", m.metrics, nil); err == nil {
		t.Error("gRPC is served on the port for HTTP")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "wal", "log")); err != nil || len(entries) == 0 {
		t.Errorf("--wal-dir: %v, %v", entries, err)
	}
}
