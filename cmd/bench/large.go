package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/cmd/bench/histogram"
	"cairn/cmd/bench/timeline"
)

const largeAbout = `bench large starts a server on an empty directory, and puts single keys at a constant rate while it

  1. fills -keys keys, in random order
  2. overwrites keys until the data directory has grown by -history
  3. overwrites keys while a backup (Maintenance.Snapshot) is received
  4. kills the server while it overwrites, and starts it again
  5. counts keys and reads pages of 500 at random places
  6. overwrites keys while the whole history is compacted
  7. overwrites keys while a new member gets a snapshot

It prints the operations per second and the puts' latency in each phase, and draws both over time. The directory has up
to twice the keys and the history at once. The load is a process of the lowest priority (-nice).

Examples: bench large -keys 1000000 -history 2GiB -svg large.svg
          bench large -batch 32 -server /usr/bin/etcd -keys 1000000 -history 1GiB
`

// largeSettings has the values of the flags of `bench large`.
type largeSettings struct {
	long longSettings

	history   size
	batch     int
	clients   int
	reads     int
	newMember bool
}

// largeRun is a run of `bench large`.
type largeRun struct {
	*longRun
	largeSettings
}

func parseLarge(args []string, help io.Writer) (largeSettings, error) {
	s := largeSettings{history: 30 << 30}
	flags := flag.NewFlagSet("large", flag.ContinueOnError)
	flags.IntVar(&s.long.keys, "keys", 10_000_000, "number of keys")
	flags.IntVar(&s.long.valueBytes, "value-size", 512, "bytes per value")
	flags.Var(&s.history, "history", "by how much overwritten keys make the data directory grow, in `bytes`, such as 2GiB")
	flags.IntVar(&s.batch, "batch", 1, "keys per request of the load: 1 makes puts, more make txns")
	flags.IntVar(&s.clients, "clients", 200, "clients of the load")
	flags.IntVar(&s.reads, "reads", 300, "counts, and pages, to read")
	flags.BoolVar(&s.newMember, "new-member", true, "add a member at the end")
	if err := s.long.parse(flags, args, help, largeAbout); err != nil {
		return s, err
	}
	if s.batch < 1 || s.clients < 1 || s.reads < 1 {
		return s, errors.New("large: want a -batch, -clients and -reads of at least 1")
	}
	return s, nil
}

// runLarge runs `bench large`.
func runLarge(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parseLarge(args, stdout)
	if err != nil {
		return err
	}
	run, err := startLongRun(ctx, "large", s.long, stderr)
	if err != nil {
		return fmt.Errorf("large: %w", err)
	}
	defer run.close()
	l := &largeRun{longRun: run, largeSettings: s}
	if err := l.all(ctx); err != nil {
		return fmt.Errorf("large: %w", errors.Join(err, run.write(stdout)))
	}
	l.checkWindows()
	return run.write(stdout)
}

// all runs the phases.
func (l *largeRun) all(ctx context.Context) error {
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return l.idle(ctx, "rest") },
		l.fill, l.overwriteUntilGrown, l.backUp, l.killAndRestart, l.read, l.compact,
	}
	if l.newMember {
		steps = append(steps, l.addMember)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return l.stopPuts()
}

// loadFlags are those of the workloads that write.
func (l *largeRun) loadFlags() []string {
	flags := []string{
		"-keys", strconv.Itoa(l.keys), "-value-size", strconv.Itoa(l.valueBytes),
		"-clients", strconv.Itoa(l.clients), "-connections", strconv.Itoa(min(l.clients, 20)),
	}
	if l.rate > 0 {
		flags = append(flags, "-rate", fmt.Sprint(l.rate/float64(l.batch)))
	}
	return flags
}

func (l *largeRun) fill(ctx context.Context) error {
	return l.phase(ctx, "fill", uint64(l.keys), func() error {
		_, err := l.run(ctx, fillKind, append(l.loadFlags(), "-scatter", "-batch", strconv.Itoa(l.batch))...)
		return err
	})
}

// overwrite starts the load that overwrites keys until it is ended.
func (l *largeRun) overwrite() (*background, error) {
	flags := append(l.loadFlags(), "-duration", "1000h", "-seed", strconv.FormatInt(time.Now().UnixNano(), 10))
	if l.batch == 1 {
		return l.background(putKind, flags...)
	}
	return l.background(txnPutKind, append(flags, "-ops", strconv.Itoa(l.batch))...)
}

// whileOverwriting is a phase in which f runs beside the load, and which lasts as long as f, and at
// least for -phase.
func (l *largeRun) whileOverwriting(ctx context.Context, name string, f func() error) error {
	return l.phase(ctx, name, 0, func() error {
		load, err := l.overwrite()
		if err != nil {
			return err
		}
		defer load.kill()
		if err := load.awaitFirst(ctx); err != nil {
			return err
		}
		atLeast := time.After(l.phaseLength)
		if err := f(); err != nil {
			return err
		}
		select {
		case <-atLeast:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err = load.stop()
		return err
	})
}

func (l *largeRun) overwriteUntilGrown(ctx context.Context) error {
	if l.history == 0 {
		return nil
	}
	before, err := l.server.diskBytes()
	if err != nil {
		return err
	}
	return l.whileOverwriting(ctx, "overwrite", func() error {
		for sleep(ctx, time.Second) {
			disk, err := l.server.diskBytes()
			if err = errors.Join(err, requireSpace(l.dir), l.server.running()); err != nil {
				return err
			}
			if disk-before >= int64(l.history) {
				return nil
			}
		}
		return ctx.Err()
	})
}

func (l *largeRun) backUp(ctx context.Context) error {
	return l.whileOverwriting(ctx, "backup", func() error {
		r, err := l.run(ctx, backupKind, "-total", "1", "-patience", "24h")
		if err != nil {
			return err
		}
		l.note("backup", float64(r.Received["bytes"]), formatBytes)
		l.note("backup received at", float64(r.Received["bytes"])/r.Seconds, bytesPerSecond)
		return nil
	})
}

func bytesPerSecond(v float64) string { return threeDigits(v/1e6) + " MB/s" }

// killAndRestart ends the server by SIGKILL under load, starts it again, and checks that no key is
// lost.
func (l *largeRun) killAndRestart(ctx context.Context) error {
	if err := l.stopPuts(); err != nil {
		return err
	}
	return l.phase(ctx, "restart", 0, func() error { return l.restart(ctx) })
}

func (l *largeRun) restart(ctx context.Context) error {
	load, err := l.overwrite()
	if err != nil {
		return err
	}
	defer load.kill()
	if err := load.awaitFirst(ctx); err != nil {
		return err
	}
	sleep(ctx, l.phaseLength/2)
	l.server.kill()
	load.kill() // its last requests have failed
	took, err := l.server.start(ctx)
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	l.check("ready after SIGKILL", took.Seconds(), seconds, 2, true)
	t := &trial{server: l.server}
	s := l.putSettings()
	s.endpoints = []endpoint{l.server.endpoint()}
	return t.checkCount(ctx, s)
}

// read measures counts and pages at random places, one request at a time, and starts the puts again
// afterwards.
func (l *largeRun) read(ctx context.Context) error {
	s := l.putSettings()
	s.endpoints, s.connections = []endpoint{l.server.endpoint()}, 1
	keys, err := newKeyspace(s)
	if err != nil {
		return err
	}
	conns, err := dialV3(ctx, s)
	if err != nil {
		return err
	}
	defer conns.close()
	err = l.phase(ctx, "reads", 0, func() error { return l.readRandomly(ctx, conns.kv(0), keys) })
	if err != nil {
		return err
	}
	return l.startPuts(ctx)
}

func (l *largeRun) readRandomly(ctx context.Context, kv pb.KVClient, keys *keyspace) error {
	rng := keys.random(0)
	page := min(500, l.keys)
	for _, c := range []struct {
		name string
		want func(first int) (count int64, kvs int)
		read *pb.RangeRequest
	}{
		{"count from a random place", func(first int) (int64, int) { return int64(l.keys - first), 0 }, &pb.RangeRequest{CountOnly: true}},
		{"page of 500 at a random place", func(first int) (int64, int) { return int64(l.keys - first), page }, &pb.RangeRequest{Limit: int64(page)}},
	} {
		times, err := readTimes(ctx, kv, keys, rng, l.reads, page, c.read, c.want)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		l.check(c.name+", p50", micros(times.Quantile(0.5)), formatMicros, 2000, true)
		l.check(c.name+", p99", micros(times.Quantile(0.99)), formatMicros, 2000, true)
	}
	return nil
}

// readTimes sends a range request n times, each from a random key on that has a page behind it.
func readTimes(ctx context.Context, kv pb.KVClient, keys *keyspace, rng *rand.Rand, n, page int, request *pb.RangeRequest,
	want func(first int) (int64, int),
) (*histogram.Histogram, error) {
	times := &histogram.Histogram{}
	request.RangeEnd = keys.end()
	for range n {
		first := rng.IntN(keys.keys - page + 1)
		request.Key = keys.appendKey(request.Key[:0], first)
		begin := time.Now()
		response, err := kv.Range(ctx, request)
		if err != nil {
			return nil, err
		}
		times.Record(time.Since(begin))
		count, kvs := want(first)
		if response.Count != count || len(response.Kvs) != kvs {
			return nil, fmt.Errorf("from key %d on: %d keys of %d, want %d of %d", first, len(response.Kvs), response.Count, kvs, count)
		}
	}
	return times, nil
}

// compact compacts the whole history, and waits until that is done.
func (l *largeRun) compact(ctx context.Context) error {
	conn, err := newV3Conn(l.server.endpoint(), l.server.files())
	if err != nil {
		return err
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	return l.whileOverwriting(ctx, "compaction", func() error {
		now, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/"), CountOnly: true})
		if err != nil {
			return err
		}
		begin := time.Now()
		if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: now.Header.Revision, Physical: true}); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
		l.note("compaction done after", time.Since(begin).Seconds(), seconds)
		return nil
	})
}

// checkWindows compares the puts' p99 in each window with that of the first window of the fill.
func (l *largeRun) checkWindows() {
	first := 0.0
	for _, p := range l.line.Phases(windowsPerPhase) {
		if p.Name == "fill" {
			first = firstLoaded(p).P99
		}
		if first == 0 || p.Whole.Puts == 0 {
			continue
		}
		worst := 0.0
		for _, w := range p.Windows {
			worst = max(worst, w.P99)
		}
		l.check(p.Name+": worst window's put p99 / first window's", worst/first, threeDigits, 1.5, true)
	}
}

// firstLoaded returns the first window with puts that the load has filled, which begins after its
// first operations: its process takes some time to start.
func firstLoaded(p timeline.Phase) timeline.Window {
	loaded := false
	for _, w := range p.Windows {
		if loaded && w.Puts > 0 {
			return w
		}
		loaded = loaded || w.Work > 0
	}
	return p.Whole
}
