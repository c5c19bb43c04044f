package main

import (
	"strings"

	"golang.org/x/sys/unix"

	"cairn/internal/datadir"
	"cairn/internal/member"
	"cairn/internal/metrics"
)

// metricsState returns the state for a scrape.
func metricsState(m *member.Member, t *transport, dir *datadir.Dir) metrics.State {
	s := m.MetricsState()
	s.Peers = t.metrics()
	major, rest, _ := strings.Cut(opsMember{m}.ClusterVersion(), ".")
	minor, _, _ := strings.Cut(rest, ".")
	s.ClusterVersion = major + "." + minor
	if s.QuotaBytes <= 0 {
		// Without a quota, report the disk's size. With 0 the usual alerts would fire: they divide
		// by it, and compare with it.
		s.QuotaBytes = s.DBTotalBytes + freeBytes(dir.Path())
	}
	return s
}

// freeBytes returns the free space of a directory's file system, 0 when unknown.
func freeBytes(path string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
