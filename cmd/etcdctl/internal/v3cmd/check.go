package v3cmd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var checkCommands = []cli.Command{
	{Path: "check", Short: "Check the performance of the cluster."},
	{
		Path: "check perf", Short: "check the performance of the cluster with writes at a fixed rate for a minute",
		Long:    "Writes keys below --prefix, which must have none before, and deletes them afterwards. Exits with 1 if the cluster is too slow.",
		Example: "$ etcdctl check perf --load m\nPASS: Throughput is 1000 writes/s\nPASS: Slowest request took 0.087509s\nPASS: Stddev is 0.004084s\nPASS",
		Flags:   func(flags *pflag.FlagSet) { checkFlags(flags, "/etcdctl-check-perf/") },
		Run:     checkPerf,
	},
	{
		Path: "check datascale", Short: "check the memory that the server needs to hold many keys",
		Long: "Writes keys below --prefix, which must have none before, and deletes them afterwards. The memory is read from /metrics of the\n" +
			"first endpoint.",
		Example: "$ etcdctl check datascale --load s\nPASS: Approximate system memory used : 64.31 MB.",
		Flags:   func(flags *pflag.FlagSet) { checkFlags(flags, "/etcdctl-check-datascale/") },
		Run:     checkDatascale,
	},
}

func checkFlags(flags *pflag.FlagSet, prefix string) {
	flags.String("load", "s", "size of the load: `s`, m, l or xl")
	flags.String("prefix", prefix, "prefix of the keys, a `text`")
	flags.Bool("auto-compact", false, "compact the history after the check")
	flags.Bool("auto-defrag", false, "defragment the endpoints after the check")
}

// load is the load of a check: for check perf the writes per second, the number of clients and the
// duration; for check datascale the number of keys.
type load struct {
	rate, keys, clients int
	lasts               time.Duration
}

const checkValueBytes = 1024

var (
	perfLoads = map[string]load{
		"s": {rate: 150, clients: 50}, "m": {rate: 1000, clients: 200}, "l": {rate: 8000, clients: 500}, "xl": {rate: 15000, clients: 1000},
	}
	dataLoads = map[string]load{
		"s": {keys: 10_000, clients: 50}, "m": {keys: 100_000, clients: 200}, "l": {keys: 1_000_000, clients: 500}, "xl": {keys: 3_000_000, clients: 1000},
	}
	loadNames = map[string]string{"small": "s", "medium": "m", "large": "l", "xlarge": "xl"}
)

// Limits for a cluster that passes the check, as in etcd's etcdctl.
const (
	perfShare      = 0.9 // of the rate
	perfSlowestMax = 500 * time.Millisecond
	perfStddevMax  = 100 * time.Millisecond
)

func loadOf(s *cli.Session, loads map[string]load) (load, error) {
	name := strings.ToLower(s.String("load"))
	if short, ok := loadNames[name]; ok {
		name = short
	}
	l, ok := loads[name]
	if !ok {
		return l, failf(exitFeature, "unknown load option %s", s.String("load"))
	}
	l.lasts = time.Minute
	return l, nil
}

// checkStart connects, and returns an error if the prefix has keys.
func checkStart(s *cli.Session) (*clientv3.Client, error) {
	c, err := connect(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := limited(s)
	defer cancel()
	prefix := s.String("prefix")
	r, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err == nil && len(r.Kvs) > 0 {
		err = failf(exitInput, "prefix %q has keys. Delete with etcdctl del --prefix %s first", prefix, prefix)
	} else if err != nil {
		err = fail(exitError, err)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// checkEnd deletes the keys of the check.
func checkEnd(s *cli.Session, c *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(s.Context, time.Minute)
	defer cancel()
	r, err := c.Delete(ctx, s.String("prefix"), clientv3.WithPrefix())
	if err != nil {
		return fail(exitError, err)
	}
	if s.Bool("auto-compact") {
		if _, err := c.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			return fail(exitError, err)
		}
		fmt.Fprintf(s.Out, "Compacted with revision %d\n", r.Header.Revision)
	}
	if s.Bool("auto-defrag") {
		for _, endpoint := range c.Endpoints() {
			if _, err := c.Defragment(ctx, endpoint); err != nil {
				return fail(exitError, err)
			}
			fmt.Fprintf(s.Out, "Defragmented %q\n", endpoint)
		}
	}
	return nil
}

// withLoad calls do with the load of the flag --load, and a client, until an interrupt. Every
// format prints the same lines.
func withLoad(s *cli.Session, loads map[string]load, do func(context.Context, *cli.Session, *clientv3.Client, load) error) error {
	if _, err := begin(s, fields, jsonText, protobuf, table); err != nil {
		return err
	}
	l, err := loadOf(s, loads)
	if err != nil {
		return err
	}
	c, err := checkStart(s)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := interruptible(s)
	defer stop()
	return do(ctx, s, c, l)
}

func checkPerf(s *cli.Session) error { return withLoad(s, perfLoads, runPerf) }

// runPerf puts keys at the rate of the load, and reports whether the cluster keeps up.
func runPerf(ctx context.Context, s *cli.Session, c *clientv3.Client, l load) error {
	progress := s.StartProgress(func(done int64, elapsed time.Duration) string {
		return fmt.Sprintf("%d of %v, %d writes", int(elapsed.Seconds()), l.lasts, done)
	})
	report := l.run(ctx, counted(progress, writeTo(c, s.String("prefix"))))
	progress.Stop()
	if err := checkEnd(s, c); err != nil {
		return err
	}
	if !report.print(s.Out, l) {
		return &cli.Exit{Code: exitError}
	}
	return nil
}

// writeTo returns a function that puts a new key below a prefix.
func writeTo(c *clientv3.Client, prefix string) func(context.Context) error {
	var n atomic.Uint64
	text := make([]byte, checkValueBytes/2)
	// never fails; random, so that compression does not make the values smaller
	_, _ = rand.Read(text)
	value := fmt.Sprintf("%x", text)
	return func(ctx context.Context) error {
		key := binary.BigEndian.AppendUint64([]byte(prefix), n.Add(1))
		_, err := c.Put(ctx, string(key), value)
		return err
	}
}

// counted counts the calls of write that succeed.
func counted(progress *cli.Progress, write func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := write(ctx)
		if err == nil {
			progress.Add(1)
		}
		return err
	}
}

// report is the result of the writes of a load.
type report struct {
	took  []time.Duration // of the writes that succeeded
	fault error           // of one of the writes that failed
	total time.Duration
}

// run writes at the rate of the load for its duration. A write that is due waits for a free client;
// the time that it waits is part of its latency.
func (l load) run(ctx context.Context, write func(context.Context) error) *report {
	due := make(chan time.Time)
	r := &report{}
	var mu sync.Mutex // guards r
	var all sync.WaitGroup
	for range l.clients {
		all.Go(func() {
			for at := range due {
				err := write(ctx)
				mu.Lock()
				if err == nil {
					r.took = append(r.took, time.Since(at))
				} else {
					r.fault = err
				}
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	end := began.Add(l.lasts)
	gap := time.Second / time.Duration(l.rate)
	for at := began; at.Before(end) && time.Now().Before(end) && ctx.Err() == nil; at = at.Add(gap) {
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case due <- at:
		case <-ctx.Done():
		}
	}
	close(due)
	all.Wait()
	r.total = time.Since(began)
	return r
}

// print prints the report, and reports whether the cluster passed the check.
func (r *report) print(out io.Writer, l load) bool {
	good := true
	line := func(ok bool, pass, bad string, value any) {
		if ok {
			fmt.Fprintf(out, "PASS: "+pass+"\n", value)
		} else {
			fmt.Fprintf(out, "FAIL: "+bad+"\n", value)
			good = false
		}
	}
	if r.fault != nil {
		line(false, "", "Errors: %v", r.fault)
	}
	if len(r.took) == 0 {
		line(false, "", "Throughput too low: %d writes/s", 0)
		fmt.Fprintln(out, "FAIL")
		return false
	}
	perSecond := int(math.Round(float64(len(r.took)) / r.total.Seconds()))
	line(float64(perSecond) >= perfShare*float64(l.rate), "Throughput is %d writes/s", "Throughput too low: %d writes/s", perSecond)
	slowest := slices.Max(r.took)
	line(slowest <= perfSlowestMax, "Slowest request took %fs", "Slowest request took too long: %fs", slowest.Seconds())
	deviation := stddev(r.took)
	line(deviation <= perfStddevMax.Seconds(), "Stddev is %fs", "Stddev too high: %fs", deviation)
	if good {
		fmt.Fprintln(out, "PASS")
	} else {
		fmt.Fprintln(out, "FAIL")
	}
	return good
}

func stddev(list []time.Duration) float64 {
	var sum, squares float64
	for _, d := range list {
		sum += d.Seconds()
	}
	mean := sum / float64(len(list))
	for _, d := range list {
		squares += (d.Seconds() - mean) * (d.Seconds() - mean)
	}
	return math.Sqrt(squares / float64(len(list)))
}

func checkDatascale(s *cli.Session) error { return withLoad(s, dataLoads, runDatascale) }

// runDatascale puts the keys of the load, and prints by how much the memory of the server has
// grown.
func runDatascale(ctx context.Context, s *cli.Session, c *clientv3.Client, l load) error {
	endpoint := c.Endpoints()[0]
	const metric = "process_resident_memory_bytes"
	before, err := readMetric(ctx, s, endpoint, metric)
	if err != nil {
		fmt.Fprintf(s.Out, "FAIL: Could not read %s before the put operations.\n", metric)
		return fail(exitError, err)
	}
	fmt.Fprintf(s.Out, "Start data scale check for work load [%d key-value pairs, %d bytes per key-value, %d concurrent clients].\n", l.keys, checkValueBytes, l.clients)
	progress := s.StartProgress(func(done int64, _ time.Duration) string { return fmt.Sprintf("%d of %d keys", done, l.keys) })
	fault := l.fill(ctx, counted(progress, writeTo(c, s.String("prefix"))))
	progress.Stop()
	after, err := readMetric(ctx, s, endpoint, metric)
	if end := checkEnd(s, c); end != nil {
		return end
	}
	switch {
	case fault != nil:
		fmt.Fprintf(s.Out, "FAIL: ERROR(%v)\n", fault)
		return &cli.Exit{Code: exitError}
	case err != nil:
		fmt.Fprintf(s.Out, "FAIL: Could not read %s after the put operations.\n", metric)
		return fail(exitError, err)
	}
	fmt.Fprintf(s.Out, "PASS: Approximate system memory used : %.2f MB.\n", (after-before)/(1<<20))
	return nil
}

// fill puts all keys of a load as fast as the clients can.
func (l load) fill(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var n atomic.Int64
	var all sync.WaitGroup
	for range l.clients {
		all.Go(func() {
			for n.Add(1) <= int64(l.keys) && ctx.Err() == nil {
				if err := write(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// readMetric reads one of a server's metrics.
func readMetric(ctx context.Context, s *cli.Session, endpoint, name string) (float64, error) {
	all, err := readMetrics(ctx, s, endpoint)
	if err != nil {
		return 0, err
	}
	v, ok := all[name]
	if !ok {
		return 0, fmt.Errorf("%s/metrics has no %s", endpoint, name)
	}
	return v, nil
}
