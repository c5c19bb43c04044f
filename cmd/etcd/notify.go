package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifyTimeout limits the wait for a service manager that does not read its socket: neither the
// start nor the shutdown may depend on it.
const notifyTimeout = time.Second

// notify sends a state to the service manager (sd_notify(3)). It reports whether there is one.
func notify(state string) (sent bool, err error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return false, nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return false, err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return false, err
	}
	if _, err := c.Write([]byte(state)); err != nil {
		return false, err
	}
	return true, nil
}

// notifyReady notifies the service manager that the service is ready (sd_notify(3)), which a unit
// with Type=notify waits for.
func notifyReady(log *slog.Logger) {
	sent, err := notify(daemon.SdNotifyReady)
	switch {
	case err != nil:
		log.Warn("notify systemd of readiness", "error", err)
	case !sent && os.Getenv("INVOCATION_ID") != "":
		// systemd sets it for every service. Without Type=notify, units that are ordered after this
		// one start too early.
		log.Warn("systemd does not wait for readiness", "want", "Type=notify")
	}
}

// notifyStopping notifies the service manager that the shutdown has begun.
func notifyStopping(log *slog.Logger) {
	if _, err := notify(daemon.SdNotifyStopping); err != nil {
		log.Warn("notify systemd of the shutdown", "error", err)
	}
}

// notifyReloading notifies the service manager that a reload has begun; notifyReady ends it.
// Type=notify-reload requires the time.
func notifyReloading(log *slog.Logger) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		log.Warn("notify systemd of a reload", "error", err)
		return
	}
	state := fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
	if _, err := notify(state); err != nil {
		log.Warn("notify systemd of a reload", "error", err)
	}
}

// keepWatchdog notifies the service manager's watchdog, twice in its interval, as long as alive
// returns nil, until ctx ends. Without the notifications, the service manager restarts the process.
func keepWatchdog(ctx context.Context, log *slog.Logger, alive func() error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := alive(); err != nil {
			log.Error("the member is stuck: not notifying systemd's watchdog", "error", err)
			continue
		}
		if _, err := notify(daemon.SdNotifyWatchdog); err != nil {
			log.Warn("notify systemd's watchdog", "error", err)
		}
	}
}
