package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// clockSlack is the tolerance of the lengths of leases and TTLs.
const clockSlack = 200 * time.Millisecond

// leaseGrace bounds how late a lease may expire in a healthy cluster on a slow machine. Cluster
// time does not advance without a leader.
const leaseGrace = 30 * time.Second

// judge compares the members with each other, and checks the history.
func (b *bout) judge(ctx context.Context, stopWatching func()) error {
	if slices.Contains(b.cfg.groups(), "requests") {
		if err := b.patiently(ctx, b.cfg.heal, b.sweepChaos, nil); err != nil {
			return err
		}
	}
	stableSince, lacks := b.rec.now(), b.lacks
	b.awaitEnds(ctx)
	if err := b.patiently(ctx, b.cfg.heal, b.lastLook, nil); err != nil {
		return err
	}
	var revision int64
	var hash uint32
	err := b.patiently(ctx, b.cfg.heal, func(ctx context.Context) (err error) {
		revision, hash, err = b.fleet.Converged(ctx)
		return err
	}, nil)
	if err != nil {
		b.violation("after bout %d (seed %d): %v", b.number, b.seed, err)
		return nil
	}
	stopWatching()
	began := time.Now()
	h := &b.rec.h
	if slices.Contains(b.cfg.groups(), "requests") {
		b.note("%d revisions are changes of attackers", h.AddForeign(foreignKey))
	}
	o := check.Options{ClockSlack: int64(clockSlack), StableSince: stableSince, LeaseGrace: int64(leaseGrace)}
	if b.lacks > lacks {
		o.StableSince, o.LeaseGrace = 0, 0 // it was not always stable
	}
	res := check.Check(h, o)
	for _, v := range res.Violations {
		b.violation("bout %d (seed %d): %v", b.number, b.seed, v)
	}
	if last := int64(len(res.States)); last < revision && len(res.Violations) == 0 {
		b.note("the history is explained up to revision %d; the members are at %d", last, revision)
	}
	if len(res.Violations) > 0 {
		if err := b.keep(h); err != nil {
			return err
		}
	}
	events := 0
	for _, w := range h.Watches {
		for _, d := range w.Deliveries {
			events += len(d.Events)
		}
	}
	b.report.judged(b, len(h.Operations), res.Placed, len(h.Watches), events, revision)
	fmt.Fprintf(b.cfg.out, "%s bout %d: %d requests (%d with a known outcome), %d watches with %d events, revision %d, hash %08x on all %d members; checked in %.1f s: %d violations\n",
		stamp(), b.number, len(h.Operations), b.rec.done.Load(), len(h.Watches), events, revision, hash, b.size, time.Since(began).Seconds(), len(res.Violations))
	return nil
}

// awaitEnds waits until all leases and TTLs have expired or should have.
func (b *bout) awaitEnds(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, ttlMax+leaseGrace+time.Second)
	defer cancel()
	m := b.fleet.Members()[0]
	for sleep(ctx, 100*time.Millisecond) {
		resp, err := b.clients[0].Get(ctx, "\x00", clientv3.WithFromKey())
		if err != nil || slices.ContainsFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease != 0 }) {
			continue
		}
		_, body, err := m.Get(ctx, "/v2/keys/?recursive=true&quorum=true")
		if err == nil && !bytes.Contains(body, []byte(`"expiration"`)) {
			return
		}
	}
}

// lastLook reads all keys on each member.
func (b *bout) lastLook(ctx context.Context) error {
	all := &check.Range{Key: "\x00", End: "\x00"}
	for _, m := range b.fleet.Members() {
		c, err := b.fleet.Connect(m)
		if err != nil {
			return err
		}
		w := &worker{member: m.Name, rec: b.rec, v3: c}
		answered := w.once(ctx, check.Request{Range: all})
		for !answered && sleep(ctx, probeEvery) {
			answered = w.once(ctx, check.Request{Range: all})
		}
		_ = c.Close()
		if !answered {
			return fmt.Errorf("%s does not answer a linearizable read", m.Name)
		}
	}
	return nil
}

// keep writes the history to a file, for debugging and for recheck.
func (b *bout) keep(h *check.History) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "history.json")
	b.note("the history is in %s, the members' logs beside it", path)
	return os.WriteFile(path, text, 0o600)
}

// recheck checks a history from a file of keep.
func recheck(out io.Writer, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var h check.History
	if err := json.Unmarshal(text, &h); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	res := check.Check(&h, check.Options{ClockSlack: int64(clockSlack)})
	fmt.Fprintf(out, "%d requests, %d watches, explained up to revision %d\n", len(h.Operations), len(h.Watches), len(res.States))
	return res.Err()
}
