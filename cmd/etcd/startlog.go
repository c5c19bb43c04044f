package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/logging"
	"cairn/internal/version"
)

// logProgram logs what runs, and what of its options is worth a warning.
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

// logMember logs who starts, where, and with which settings: the tutorial's lines in the tutorial's
// order. What is for the birth of a member only is not logged for one that exists, since it has no
// effect then.
func logMember(log *slog.Logger, cfg *config.Config, dir *datadir.Dir, c *claim) {
	for _, l := range c.peer {
		log.Info("listening for peers", "url", "http://"+l.Addr().String())
	}
	for _, l := range c.client {
		log.Info("listening for client requests", "url", "http://"+l.Addr().String())
	}
	for _, l := range c.metrics {
		log.Info("listening for metrics", "url", "http://"+l.Addr().String())
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
	if c.existing == nil {
		log.Info("initial advertise peer urls", "initial_advertise_peer_urls", cfg.InitialAdvertisePeerURLs.String())
		log.Info("initial cluster", "initial_cluster", cfg.InitialCluster)
	}
	id := dir.Identity()
	log.Info("starting member", "member_id", fmt.Sprintf("%x", id.MemberID), "cluster_id", fmt.Sprintf("%x", id.ClusterID))
}

// logReady is to be called when requests are answered, and not before: people wait for this line.
func logReady(log *slog.Logger, c *claim) {
	log.Info("ready to serve client requests")
	for _, l := range c.client {
		level, reason := logging.LevelNotice, "the traffic is not encrypted"
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			level, reason = slog.LevelWarn, "whoever reaches the address can read the traffic"
		}
		log.Log(context.Background(), level, "serving insecure client requests", "address", l.Addr().String(), "reason", reason)
	}
}
