package main

import (
	"os"
	"testing"

	"cairn/internal/config"
)

// TestReusePort binds an address twice, as two processes would.
func TestReusePort(t *testing.T) {
	reserved := func(address string, reuse string) (*reservation, error) {
		t.Helper()
		cfg, err := config.Load([]string{
			"--data-dir", t.TempDir() + "/data", "--socket-reuse-port=" + reuse,
			"--listen-client-urls", "http://" + address, "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0",
		}, nil, os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		c, err := reserveListeners(t.Context(), cfg)
		if err == nil {
			t.Cleanup(c.Close)
		}
		return c, err
	}
	first, err := reserved("127.0.0.1:0", "true")
	if err != nil {
		t.Fatal(err)
	}
	address := first.client[0].Addr().String()
	if _, err := reserved(address, "true"); err != nil {
		t.Errorf("with --socket-reuse-port: %v", err)
	}
	if _, err := reserved(address, "false"); err == nil {
		t.Error("without --socket-reuse-port the address was free")
	}
}
