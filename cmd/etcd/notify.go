package main

import (
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyReady tells the service manager that the service is up (sd_notify(3)), which a unit with
// Type=notify waits for.
func notifyReady(log *slog.Logger) {
	sent, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	switch {
	case err != nil:
		log.Warn("tell systemd of readiness", "error", err)
	case !sent && os.Getenv("INVOCATION_ID") != "":
		// systemd sets it for every service. Without Type=notify, units that are ordered after this
		// one start too early.
		log.Warn("systemd does not wait for readiness", "want", "Type=notify")
	}
}

// notifyStopping tells it that the end has begun.
func notifyStopping(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.Warn("tell systemd of the end", "error", err)
	}
}
