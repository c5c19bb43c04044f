package main

import (
	"strings"

	"golang.org/x/sys/unix"

	"cairn/internal/datadir"
	"cairn/internal/member"
	"cairn/internal/metrics"
)

// metricsState returns the state that a scrape shows.
func metricsState(m *member.Member, t *transport, dir *datadir.Dir) metrics.State {
	s := m.MetricsState()
	s.Peers = t.metrics()
	major, rest, _ := strings.Cut(opsMember{m}.ClusterVersion(), ".")
	minor, _, _ := strings.Cut(rest, ".")
	s.ClusterVersion = major + "." + minor
	if s.QuotaBytes <= 0 {
		// The disk is the quota then. With 0 the usual alerts would fire: they divide by it, and
		// compare with it.
		s.QuotaBytes = s.DBTotalBytes + freeBytes(dir.Path())
	}
	return s
}

// freeBytes returns how much more the file system of a directory takes, 0 when that is not known.
func freeBytes(path string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
