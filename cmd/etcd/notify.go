package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifyReady notifies the service manager that the service is ready (sd_notify(3)), which a unit
// with Type=notify waits for.
func notifyReady(log *slog.Logger) {
	sent, err := daemon.SdNotify(false, daemon.SdNotifyReady)
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
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
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
	if _, err := daemon.SdNotify(false, state); err != nil {
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
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			log.Warn("notify systemd's watchdog", "error", err)
		}
	}
}
