package main

import (
	"strings"

	"golang.org/x/sys/unix"

	"cairn/internal/datadir"
	"cairn/internal/machine"
	"cairn/internal/member"
	"cairn/internal/metrics"
	"cairn/internal/v2http"
)

// metricsState returns the state for a scrape.
func metricsState(m *member.Member, t *transport, dir *datadir.Dir, v2 *v2http.Counters) metrics.State {
	s := m.MetricsState()
	s.Peers = t.metrics()
	s.V2 = v2State(v2, m.V2Counters())
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

// v2State returns the counts of v2's requests.
func v2State(read *v2http.Counters, written *machine.V2Counters) metrics.V2State {
	action := func(name string, n *machine.Count) metrics.V2Action {
		return metrics.V2Action{Name: name, Success: n.Success.Load(), Failed: n.Fail.Load()}
	}
	return metrics.V2State{
		Reads: []metrics.V2Action{action("get", &read.Gets), action("getRecursive", &read.RecursiveGets)},
		Writes: []metrics.V2Action{
			action("set", &written.Set), action("create", &written.Create), action("update", &written.Update), action("delete", &written.Delete),
			action("compareAndSwap", &written.CompareAndSwap), action("compareAndDelete", &written.CompareAndDelete),
		},
		Expired: written.Expire.Load(), Watches: read.Watches.Load(), Watchers: read.Watchers.Load(),
	}
}

// freeBytes returns the free space of a directory's file system, 0 when unknown.
func freeBytes(path string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
