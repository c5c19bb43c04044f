package tls_test

import (
	"crypto/tls"
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

// TestAutoTLSOfMetrics makes a certificate when only the URL for metrics uses TLS.
func TestAutoTLSOfMetrics(t *testing.T) {
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "http", "http", []*member{m}, "--auto-tls", "--listen-metrics-urls", "https://"+m.metrics)
	m.await(t, ready)
	ctx, cancel := within(time.Minute)
	defer cancel()
	anyServer := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is self-signed
	if err := apis["metrics"](ctx, "https", m.metrics, anyServer); err != nil {
		t.Errorf("metrics over TLS: %v", err)
	}
	if err := apis["metrics"](ctx, "http", m.metrics, nil); err == nil {
		t.Error("metrics are served without TLS on an https:// URL")
	}
}
