package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterSize is how many members the scenarios on clusters have.
const clusterSize = 3

// cluster has the servers of a cluster.
type cluster []*server

// startCluster starts a cluster of the program on empty directories under parent and waits until
// all members serve.
func startCluster(ctx context.Context, p program, parent string) (cluster, error) {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return nil, fmt.Errorf("make cluster directory: %w", err)
	}
	for try := 0; ; try++ {
		c, err := tryCluster(ctx, p, filepath.Join(dir, fmt.Sprint(try)))
		if err == nil {
			return c, nil
		}
		c.remove()
		// Another process may have taken the port since it was chosen.
		if try == 2 || !strings.Contains(err.Error(), "address already in use") {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

func tryCluster(ctx context.Context, p program, dir string) (c cluster, err error) {
	var named []string
	for i := range clusterSize {
		s := &server{program: p, name: fmt.Sprintf("m%d", i+1)}
		s.dir = filepath.Join(dir, s.name)
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return c, fmt.Errorf("make server directory: %w", err)
		}
		if s.client, s.peer, err = freeAddresses(); err != nil {
			return c, err
		}
		c = append(c, s)
		named = append(named, s.name+"="+(&url.URL{Scheme: "http", Host: s.peer}).String())
	}
	for _, s := range c {
		s.cluster = strings.Join(named, ",")
		if err := s.launch(); err != nil {
			return c, err
		}
	}
	for _, s := range c {
		if err := s.awaitReady(ctx); err != nil {
			return c, fmt.Errorf("start %s: %w%s", s.path, err, s.logTail())
		}
	}
	return c, nil
}

func (c cluster) remove() {
	for _, s := range c {
		s.remove()
	}
	if len(c) > 0 {
		// the rest of a temporary directory does not affect the figures
		_ = os.RemoveAll(filepath.Dir(c[0].dir))
	}
}

func (c cluster) running() (err error) {
	for _, s := range c {
		err = errors.Join(err, s.running())
	}
	return err
}

// endpoints are those of all members.
func (c cluster) endpoints() (all []endpoint) {
	for _, s := range c {
		all = append(all, s.endpoint())
	}
	return all
}

// all is endpoints, for clusterLoadOn.
func (c cluster) all(context.Context) ([]endpoint, error) { return c.endpoints(), nil }

// followers returns the endpoints of the members that do not lead.
func (c cluster) followers(ctx context.Context) (some []endpoint, err error) {
	for _, s := range c {
		status, err := s.status(ctx)
		if err != nil {
			return nil, err
		}
		if status.Leader == 0 {
			return nil, fmt.Errorf("%s has no leader", s.client)
		}
		if status.Leader != status.Header.MemberId {
			some = append(some, s.endpoint())
		}
	}
	if len(some) != len(c)-1 {
		return nil, fmt.Errorf("%d of %d members follow: the leader changed meanwhile", len(some), len(c))
	}
	return some, nil
}

// cpu returns the CPU time that all members have used so far.
func (c cluster) cpu() (total time.Duration, err error) {
	for _, s := range c {
		usage, err := sampleProcess(s.pid())
		if err != nil {
			return 0, err
		}
		total += usage.cpu()
	}
	return total, nil
}

// clusterLoad is load for a cluster, whose clients are connected to all members. CPU and memory are
// those of all of them together.
func clusterLoad(name, summary string, kind workloadKind, filled bool, edit func(*settings), goals map[string]goal) scenario {
	return clusterLoadOn(name, summary, cluster.all, kind, filled, edit, goals)
}

// clusterLoadOn is clusterLoad with clients of only those members that choose returns.
func clusterLoadOn(name, summary string, choose func(cluster, context.Context) ([]endpoint, error), kind workloadKind, filled bool,
	edit func(*settings), goals map[string]goal,
) scenario {
	return scenario{
		name: name, summary: summary, members: clusterSize, goals: goals,
		metrics: []metric{throughput, cpu, p50, p99},
		run: func(ctx context.Context, t *trial) (sample, error) {
			s := t.settings(kind)
			edit(&s)
			s.keys = t.scale.keys(s.keys)
			s.endpoints, s.pid = t.cluster.endpoints(), 0
			if filled {
				if err := t.fillCluster(ctx, s); err != nil {
					return nil, err
				}
			}
			var err error
			if s.endpoints, err = choose(t.cluster, ctx); err != nil {
				return nil, err
			}
			s.duration, s.warmup = t.duration, t.warmup
			before, err := t.cluster.cpu()
			if err != nil {
				return nil, err
			}
			r, err := t.measure(ctx, kind, s)
			if err != nil {
				return nil, err
			}
			after, err := t.cluster.cpu()
			if err != nil {
				return nil, err
			}
			// The warm-up's requests are not in the report, but they are in the CPU time, which is
			// therefore scaled by duration.
			share := s.duration.Seconds() / (s.duration + s.warmup).Seconds()
			return sample{
				throughput.name: r.RequestsPerSecond,
				cpu.name:        float64((after - before).Microseconds()) * share / float64(r.Requests),
				p50.name:        r.Latency.P50,
				p99.name:        r.Latency.P99,
			}, nil
		},
	}
}

// fillCluster puts all keys of a load's key space.
func (t *trial) fillCluster(ctx context.Context, load settings) error {
	s := t.settings(fillKind)
	s.keys, s.endpoints, s.pid = load.keys, load.endpoints, 0
	if _, err := t.measure(ctx, fillKind, s); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

var caughtUp = metric{"caught up", seconds}

// runCatchUp stops a member, writes 1 GB, and measures the time from the member's start until it
// has caught up.
func runCatchUp(ctx context.Context, t *trial) (sample, error) {
	away := t.cluster[len(t.cluster)-1]
	if err := away.terminate(); err != nil {
		return nil, err
	}
	left := t.cluster[:len(t.cluster)-1]
	s := t.settings(fillKind)
	s.endpoints, s.pid = left.endpoints(), 0
	s.keys, s.valueBytes = t.scale.keys(1_000_000), 1024
	if _, err := measure(ctx, fillKind, s, t.bar); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	if err := left.running(); err != nil {
		return nil, err
	}
	goal, err := left[0].appliedIndex(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := away.launch(); err != nil {
		return nil, err
	}
	if err := awaitApplied(ctx, away, goal); err != nil {
		return nil, err
	}
	return sample{caughtUp.name: time.Since(begin).Seconds()}, nil
}

// awaitApplied waits until a server has applied an index.
func awaitApplied(ctx context.Context, s *server, goal uint64) error {
	for {
		index, err := s.appliedIndex(ctx)
		if err == nil && index >= goal {
			return s.running()
		}
		if err := errors.Join(ctx.Err(), s.running()); err != nil {
			return err
		}
		sleep(ctx, 5*time.Millisecond) // its end is seen above
	}
}

// appliedIndex returns the server's applied index.
func (s *server) appliedIndex(ctx context.Context) (uint64, error) {
	status, err := s.status(ctx)
	return status.GetRaftAppliedIndex(), err
}

func (s *server) status(ctx context.Context) (*pb.StatusResponse, error) {
	conn, err := newV3Conn(s.endpoint(), s.files())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("read the status of %s: %w", s.client, err)
	}
	return status, nil
}

// The goals of issue 16 for clusters.
var clusterScenarios = []scenario{
	clusterLoad("cluster-put-1000", "1,000 clients of all members put", putKind, false, clients(99, 1000),
		map[string]goal{throughput.name: {atLeast: 2}, cpu.name: {atMost: 0.45}}),
	clusterLoad("cluster-put-1", "one client puts", putKind, false, clients(1, 1), map[string]goal{p50.name: {atMost: 0.9}}),
	clusterLoad("cluster-get-1000", "1,000 clients of all members get, linearizable", getKind, true, clients(99, 1000), nil),
	clusterLoadOn("cluster-get-followers", "1,000 clients of the followers get, linearizable", cluster.followers, getKind, true,
		clients(100, 1000), map[string]goal{throughput.name: {atLeast: 5}}),
	{
		name: "cluster-catch-up", summary: "a member comes back after 1 GB of writes", members: clusterSize,
		metrics: []metric{caughtUp}, goals: map[string]goal{caughtUp.name: {atMost: 0.5}},
		run: runCatchUp,
	},
}
