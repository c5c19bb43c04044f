package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// notifySocket is the service manager's end of sd_notify(3).
func notifySocket(t *testing.T) (path string, next func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return path, func() string {
		t.Helper()
		buf := make([]byte, 512)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("no notification: %v", err)
		}
		return string(buf[:n])
	}
}

// TestNotifications runs a member as systemd would: ready when it serves, reloading and ready at
// SIGHUP, the watchdog in between, stopping at SIGTERM.
func TestNotifications(t *testing.T) {
	socket, next := notifySocket(t)
	p := start(t, t.TempDir(), []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=200000"},
		"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0")
	if got := next(); got != "READY=1" {
		t.Fatalf("first notification %q", got)
	}
	p.await(`ready to serve client requests$`)
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("got %q, want the watchdog's", got)
		}
	}
	p.signal(syscall.SIGHUP)
	skip := func(want string) {
		t.Helper()
		got := next()
		for got == "WATCHDOG=1" {
			got = next()
		}
		if !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	skip("RELOADING=1\nMONOTONIC_USEC=")
	skip("READY=1")
	p.signal(syscall.SIGTERM)
	skip("STOPPING=1")
	if status, stderr := p.end(); status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

// TestHangupBeforeReady sends SIGHUP to the first of three members, which waits for the others: a
// notification of a reload would end with READY=1.
func TestHangupBeforeReady(t *testing.T) {
	socket, next := notifySocket(t)
	p := start(t, t.TempDir(), []string{"NOTIFY_SOCKET=" + socket}, anyPort(
		"--initial-advertise-peer-urls=http://127.0.0.1:1", "--initial-cluster=default=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3")...)
	p.await(`waiting for a majority`)
	p.signal(syscall.SIGHUP)
	p.await(`etcd: reloaded`)
	p.signal(syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("the first notification is %q", got)
	}
	p.end()
}

// TestHangupReopensLogs moves the log file away, as logrotate does, and sends SIGHUP.
func TestHangupReopensLogs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	p := start(t, dir, nil, anyPort("--log-outputs="+path+",stderr")...)
	p.await(`ready to serve client requests$`)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.await(`etcd: reloaded`)
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "etcd: reloaded") {
		t.Errorf("the new file has %q, %v", text, err)
	}
	p.signal(syscall.SIGTERM)
	p.end()
}

// TestWatchdogStops: a stuck member sends no notifications, until it works again.
func TestWatchdogStops(t *testing.T) {
	socket, next := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked atomic.Int32
	alive := func() error {
		if asked.Add(1) < 5 {
			return errors.New("stuck")
		}
		return nil
	}
	go keepWatchdog(ctx, slog.New(slog.DiscardHandler), alive)
	if got := next(); got != "WATCHDOG=1" || asked.Load() < 5 {
		t.Errorf("%q after %d checks", got, asked.Load())
	}
}

// TestNotifyDoesNotBlock fills the queue of a service manager that does not read its socket: a
// notification fails after notifyTimeout, instead of blocking the start, the shutdown or the
// watchdog's goroutine.
func TestNotifyDoesNotBlock(t *testing.T) {
	socket, next := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	sent := 0
	for {
		_, err := notify("READY=1")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent++; sent > 1<<16 {
			t.Fatal("the queue does not become full")
		}
	}
	for range sent { // the one that failed is not in the queue
		next()
	}
	if _, err := notify("STOPPING=1"); err != nil {
		t.Errorf("after the service manager has read: %v", err)
	}
	if got := next(); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
}
