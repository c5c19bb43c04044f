package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/logging"
	"cairn/internal/version"
)

// logProgram logs the versions, and the warnings about options.
func logProgram(log *slog.Logger, cfg *config.Config) {
	log.Info("etcd version", "etcd_version", version.API)
	log.Info("cairn version", "cairn_version", version.Cairn)
	log.Info("git sha", "git_sha", version.GitSHA())
	log.Info("go version", "go_version", version.Go())
	log.Info("platform", "platform", version.Platform())
	log.Info("using processors", "used", runtime.GOMAXPROCS(0), "available", runtime.NumCPU())
	if cfg.File != "" {
		log.Info("configuration file", "configuration_file", cfg.File)
	}
	for _, w := range cfg.Warnings {
		attrs := []any{"setting", w.Setting}
		if w.Reason != "" {
			attrs = append(attrs, "reason", w.Reason)
		}
		log.Warn(w.Message, attrs...)
	}
	if cfg.DataDirDefaulted {
		log.Warn("no data directory given, using the default", "data_dir", cfg.DataDir)
	}
}

// logMember logs which member starts, where, and with which settings: the tutorial's lines in the
// tutorial's order. Settings that only apply to a new member are not logged for an existing one.
func logMember(log *slog.Logger, cfg *config.Config, dir *datadir.Dir, r *reservation) {
	for _, l := range r.peer {
		log.Info("listening for peers", "url", l.URL())
	}
	for _, l := range r.client {
		log.Info("listening for client requests", "url", l.URL())
	}
	for _, l := range r.clientHTTP {
		log.Info("listening for client requests over HTTP", "url", l.URL())
	}
	for _, l := range r.metrics {
		log.Info("listening for metrics", "url", l.URL())
	}
	log.Info("name", "name", cfg.Name)
	log.Info("data dir", "data_dir", dir.Path())
	log.Info("member dir", "member_dir", dir.MemberDir())
	if mode := dir.LoosePermissions(); mode != 0 {
		log.Warn("member directory is open to others", "permissions", mode.String(), "want", "-rwx------")
	}
	log.Info("heartbeat", "heartbeat", cfg.HeartbeatInterval)
	log.Info("election", "election", cfg.ElectionTimeout)
	log.Info("snapshot count", "snapshot_count", cfg.SnapshotCount)
	log.Info("auto compaction", "auto_compaction", cfg.AutoCompaction.String())
	log.Info("advertise client urls", "advertise_client_urls", cfg.AdvertiseClientURLs.String())
	if r.existing == nil {
		log.Info("initial advertise peer urls", "initial_advertise_peer_urls", cfg.InitialAdvertisePeerURLs.String())
		log.Info("initial cluster", "initial_cluster", cfg.InitialCluster)
	}
	id := dir.Identity()
	log.Info("starting member", "member_id", fmt.Sprintf("%x", id.MemberID), "cluster_id", fmt.Sprintf("%x", id.ClusterID))
}

// logReady must be called when requests are served, and not before: users and tools wait for this
// line.
func logReady(log *slog.Logger, r *reservation) {
	log.Info("ready to serve client requests")
	for _, l := range append(slices.Clone(r.client), r.clientHTTP...) {
		if l.IsSecure() {
			log.Info("serving client requests on "+l.Addr().String(), "address", l.Addr().String())
			continue
		}
		level, reason := logging.LevelNotice, "the traffic is not encrypted"
		switch tcp, ok := l.Addr().(*net.TCPAddr); {
		case !ok:
			reason = "the permissions of the socket's file decide who can connect"
		case !tcp.IP.IsLoopback():
			level, reason = slog.LevelWarn, "anyone who can reach the address can read the traffic"
		}
		log.Log(context.Background(), level, "serving insecure client requests", "address", l.Addr().String(), "reason", reason)
	}
}

// logEffective logs the effective configuration, without the defaults.
func logEffective(log *slog.Logger, cfg *config.Config) {
	for _, s := range cfg.Effective() {
		if s.Source != config.DefaultSource {
			log.Info("setting", "name", s.Name, "value", s.Value, "source", s.Source)
		}
	}
}

// logInsecure warns of unprotected ports and data.
func logInsecure(log *slog.Logger, cfg *config.Config, r *reservation) {
	if cfg.UnsafeNoFsync {
		log.Warn("UNSAFE: --unsafe-no-fsync is set: acknowledged writes are lost when the machine or its power fails; never use it for data that matters")
	}
	for _, l := range r.peer {
		if tcp, ok := l.Addr().(*net.TCPAddr); !l.IsSecure() && ok && !tcp.IP.IsLoopback() {
			log.Warn("the peer port is not encrypted", "address", l.Addr().String(), "want", "--peer-cert-file, --peer-key-file, --peer-trusted-ca-file and https:// URLs")
		}
	}
	for _, address := range r.unused {
		log.Warn("socket passed by systemd is not used", "address", address, "want", "a --listen-…-urls with this address")
	}
	if cfg.ClientTLS.RequireClientCert && !cfg.ListenClientURLs.AllSecure() {
		log.Warn("client certificates are not required on http:// URLs", "urls", cfg.ListenClientURLs.String())
	}
}
