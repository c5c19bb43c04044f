package v3cmd

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/term"

	"cairn/cmd/etcdctl/internal/cli"
)

var topCommand = cli.Command{
	Path: "top", Beyond: true,
	Short: "show live figures: members, requests by method, the slowest ones, writes by prefix",
	Long: "Refreshes in place on a terminal; q or Ctrl-C ends it. Elsewhere, or with --once, it prints the figures of one interval.\n" +
		"Requests come from /metrics of each endpoint; writes by prefix from a watch of all keys, which needs permission to read them.\n" +
		"Durations are bounds of the histogram's buckets: half of the requests, 99 of 100, or all took at most so long.",
	Example: "$ etcdctl top --once --interval 5s",
	Flags: func(flags *pflag.FlagSet) {
		flags.Duration("interval", time.Second, "`time` between two refreshes")
		flags.Bool("once", false, "print the figures of one interval")
	},
	Run: top,
}

// topLines is the number of methods and prefixes shown.
const topLines = 10

func top(s *cli.Session) error {
	if len(s.Args) != 0 {
		return failf(exitArgs, "top takes no arguments")
	}
	interval := value(s.Flags.GetDuration("interval"))
	if interval <= 0 {
		return failf(exitArgs, "--interval %v: want a positive time", interval)
	}
	return withClient(s, func(c *clientv3.Client) error {
		ctx, stop := interruptible(s)
		defer stop()
		live := !s.Bool("once") && cli.IsTerminal(s.Out)
		if live {
			restore := quitOnKey(s, stop)
			defer restore()
		}
		writes := countWrites(ctx, c)
		last := sampleAll(ctx, s, c)
		if !last.reachable() {
			return failf(exitError, "no endpoint serves its status and /metrics: %w", context.DeadlineExceeded)
		}
		writes.take()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			now := sampleAll(ctx, s, c)
			if ctx.Err() != nil {
				return nil
			}
			var frame bytes.Buffer
			now.print(&frame, last, writes.take())
			if !live {
				_, err := s.Out.Write(frame.Bytes())
				return err
			}
			// Home, then each line with the rest of its old content erased, then the rest of the
			// screen.
			text := strings.ReplaceAll(frame.String(), "\n", "\033[K\r\n")
			fmt.Fprintf(s.Out, "\033[H%s\033[J", text)
			last = now
		}
	})
}

// quitOnKey reads the keyboard without waiting for a line, and calls stop at q or Ctrl-C. The
// function that it returns restores the terminal.
func quitOnKey(s *cli.Session, stop func()) (restore func()) {
	keyboard, ok := s.In.(*os.File)
	if !ok || !cli.IsTerminal(keyboard) {
		return func() {}
	}
	state, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return func() {}
	}
	fmt.Fprint(s.Out, "\033[?1049h\033[?25l") // the alternate screen, without a cursor
	go func() {
		const ctrlC = 3
		var key [1]byte
		for {
			if _, err := keyboard.Read(key[:]); err != nil || key[0] == 'q' || key[0] == ctrlC {
				stop()
				return
			}
		}
	}()
	return func() {
		fmt.Fprint(s.Out, "\033[?25h\033[?1049l")
		_ = term.Restore(int(keyboard.Fd()), state)
	}
}

// writeCounter counts events by the first segment of their keys.
type writeCounter struct {
	mu     sync.Mutex // guards counts
	counts map[string]int64
}

// countWrites watches all keys until ctx ends.
func countWrites(ctx context.Context, c *clientv3.Client) *writeCounter {
	w := &writeCounter{counts: map[string]int64{}}
	go func() {
		for r := range c.Watch(ctx, "\x00", clientv3.WithFromKey()) {
			w.mu.Lock()
			for _, e := range r.Events {
				w.counts[firstSegment(string(e.Kv.GetKey()))]++
			}
			w.mu.Unlock()
		}
	}()
	return w
}

// take returns the counts since the last call.
func (w *writeCounter) take() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := w.counts
	w.counts = map[string]int64{}
	return counts
}

// firstSegment returns a key up to the slash behind its first segment: /app/ for /app/mode.
func firstSegment(key string) string {
	if i := strings.IndexByte(strings.TrimPrefix(key, "/"), '/'); i >= 0 {
		return key[:len(key)-len(strings.TrimPrefix(key, "/"))+i+1]
	}
	return key
}

// sample holds the figures of all endpoints at one moment.
type sample struct {
	at        time.Time
	leases    string // their number, or "?" without the permission to list them
	endpoints []endpointSample
}

type endpointSample struct {
	endpoint string
	status   *clientv3.StatusResponse
	metrics  metrics
	err      error
}

func sampleAll(ctx context.Context, s *cli.Session, c *clientv3.Client) sample {
	now := sample{at: time.Now(), endpoints: make([]endpointSample, len(c.Endpoints()))}
	ctx, cancel := context.WithTimeout(ctx, value(s.Flags.GetDuration("command-timeout")))
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		now.leases = "?"
		if r, err := c.Leases(ctx); err == nil {
			now.leases = fmt.Sprint(len(r.Leases))
		}
	})
	for i, endpoint := range c.Endpoints() {
		all.Go(func() {
			e := &now.endpoints[i]
			e.endpoint = endpoint
			if e.status, e.err = c.Status(ctx, endpoint); e.err == nil {
				e.metrics, e.err = readMetrics(ctx, s, endpoint)
			}
		})
	}
	all.Wait()
	return now
}

func (n sample) reachable() bool {
	return slices.ContainsFunc(n.endpoints, func(e endpointSample) bool { return e.err == nil })
}

// print prints the figures, and rates since an earlier sample.
func (n sample) print(w io.Writer, last sample, writes map[string]int64) {
	seconds := max(n.at.Sub(last.at).Seconds(), 0.001)
	fmt.Fprintf(w, "etcdctl top  %s  leases %s\n\n%-28s %-8s %10s %10s %9s %9s\n", n.at.Format(time.TimeOnly), n.leases,
		"ENDPOINT", "ROLE", "REVISION", "DB SIZE", "WATCHERS", "REQ/S")
	methods, durations := map[string]float64{}, map[string]histogram{}
	for i, e := range n.endpoints {
		if e.err != nil {
			fmt.Fprintf(w, "%-28s %v\n", e.endpoint, e.err)
			continue
		}
		role := "follower"
		switch {
		case e.status.Leader == e.status.Header.GetMemberId():
			role = "leader"
		case e.status.IsLearner:
			role = "learner"
		}
		total := 0.0
		for method, count := range e.metrics.byLabel("grpc_server_handled_total", "grpc_method") {
			rate := 0.0
			if last.endpoints[i].err == nil {
				rate = (count - last.endpoints[i].metrics.byLabel("grpc_server_handled_total", "grpc_method")[method]) / seconds
			}
			methods[method] += rate
			total += rate
		}
		if last.endpoints[i].err == nil {
			addDurations(durations, e.metrics, last.endpoints[i].metrics)
		}
		fmt.Fprintf(w, "%-28s %-8s %10d %10s %9.0f %9.1f\n", e.endpoint, role, e.status.Header.GetRevision(),
			cli.FormatBytes(e.status.DbSize), e.metrics["etcd_debugging_mvcc_watcher_total"], total)
	}
	fmt.Fprintf(w, "\n%-28s %9s\n", "REQUESTS BY METHOD", "PER S")
	for _, method := range ranked(methods) {
		fmt.Fprintf(w, "%-28s %9.1f\n", method, methods[method])
	}
	printSlowest(w, durations)
	prefixes := map[string]float64{}
	for prefix, count := range writes {
		prefixes[prefix] = float64(count) / seconds
	}
	fmt.Fprintf(w, "\n%-28s %9s\n", "WRITES BY PREFIX", "PER S")
	for _, prefix := range ranked(prefixes) {
		fmt.Fprintf(w, "%-28s %9.1f\n", readable([]byte(prefix)), prefixes[prefix])
	}
}

// durationMetrics are the histograms of the durations of requests, and the label that names the
// method: since etcd 3.6, and of any version with --metrics=extensive.
var durationMetrics = [...]struct{ name, label string }{
	{"etcd_server_request_duration_seconds", "type"},
	{"grpc_server_handling_seconds", "grpc_method"},
}

// addDurations adds the durations of the requests that a member has served since a sample.
func addDurations(sums map[string]histogram, now, last metrics) {
	for _, m := range durationMetrics {
		before := last.histograms(m.name, m.label)
		all := now.histograms(m.name, m.label)
		for method, h := range all {
			if sums[method] == nil {
				sums[method] = histogram{}
			}
			for bound, count := range h.since(before[method]) {
				sums[method][bound] += count
			}
		}
		if len(all) > 0 {
			return // the other metric has the same requests
		}
	}
}

// printSlowest prints the methods whose slowest requests took longest.
func printSlowest(w io.Writer, durations map[string]histogram) {
	if len(durations) == 0 {
		return // the members are older, and do not measure durations
	}
	slowest := map[string]float64{}
	for method, h := range durations {
		slowest[method] = h.quantile(1)
	}
	fmt.Fprintf(w, "\n%-28s %9s %9s %9s\n", "SLOWEST REQUESTS", "HALF", "99%", "ALL")
	for _, method := range ranked(slowest) {
		h := durations[method]
		fmt.Fprintf(w, "%-28s %9s %9s %9s\n", method, bound(h, 0.5), bound(h, 0.99), bound(h, 1))
	}
}

// bound shows a quantile of durations.
func bound(h histogram, q float64) string {
	seconds := h.quantile(q)
	if math.IsInf(seconds, 1) {
		finite := slices.Sorted(maps.Keys(h))
		finite = finite[:len(finite)-1] // without infinity
		return ">" + time.Duration(finite[len(finite)-1]*float64(time.Second)).String()
	}
	return time.Duration(seconds * float64(time.Second)).String()
}

// ranked returns the names with the highest values, the highest first.
func ranked(values map[string]float64) []string {
	names := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(a, b))
	})
	names = slices.DeleteFunc(names, func(name string) bool { return values[name] <= 0 })
	return names[:min(len(names), topLines)]
}
