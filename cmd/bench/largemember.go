package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// addMember adds a learner, starts it, and measures the time from its start until it has all that
// the first member had then.
func (l *largeRun) addMember(ctx context.Context) error {
	added, err := l.prepareMember()
	if err != nil {
		return err
	}
	defer func() {
		if added.proc != nil {
			added.kill()
		}
	}()
	return l.whileOverwriting(ctx, "new member", func() error {
		conn, err := newV3Conn(l.server.endpoint(), l.server.files())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://" + added.peer}, IsLearner: true}); err != nil {
			return fmt.Errorf("add a learner: %w", err)
		}
		goal, err := l.server.appliedIndex(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := added.launch(); err != nil {
			return err
		}
		if err := awaitApplied(ctx, added, goal); err != nil {
			return err
		}
		took := time.Since(begin).Seconds()
		sent, err := l.server.counter(ctx, snapshotsSent)
		if err != nil {
			return err
		}
		if sent < 1 {
			return errors.New("the new member got the log instead of a snapshot: want more -keys, or a longer -history")
		}
		bytes := float64(l.keys) * float64(l.putSettings().keyBytes+l.valueBytes)
		l.note("new member has caught up after", took, seconds)
		l.check("new member: bytes of keys and values per second", bytes/took, bytesPerSecond, 150e6, false)
		return nil
	})
}

// prepareMember returns the new member, not started.
func (l *largeRun) prepareMember() (*server, error) {
	added := &server{program: l.program, name: "added", dir: filepath.Join(l.server.dir, "added")}
	added.args = append(slices.Clone(added.args), "--initial-cluster-state=existing")
	if err := os.MkdirAll(added.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make server directory: %w", err)
	}
	var err error
	if added.client, added.peer, err = freeAddresses(); err != nil {
		return nil, err
	}
	added.cluster = fmt.Sprintf("%s=http://%s,%s=http://%s", l.server.name, l.server.peer, added.name, added.peer)
	return added, nil
}

// snapshotsSent is the metric of snapshots that other members have taken.
const snapshotsSent = "etcd_network_snapshot_send_success"

// counter returns the sum of a metric over its labels.
func (s *server) counter(ctx context.Context, name string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.client+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	total := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		labeled, value, _ := strings.Cut(lines.Text(), " ")
		if metric, _, _ := strings.Cut(labeled, "{"); metric != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		total += n
	}
	return int(total), lines.Err()
}
