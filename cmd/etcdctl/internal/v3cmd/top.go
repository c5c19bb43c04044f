package v3cmd

import (
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

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/texttable"
)

var topCommand = cli.Command{
	Path: "top", Beyond: true,
	Short: "show live figures: members, requests by method, the slowest ones, writes by prefix",
	Long: "Refreshes in place on a terminal, and fits its size; q or Ctrl-C ends it. Elsewhere, or with --once, it prints the figures of\n" +
		"one interval.\n" +
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
		writes := countWrites(ctx, c)
		last := sampleAll(ctx, s, c)
		if !last.reachable() {
			return failf(exitError, "no endpoint serves its status and /metrics: %w", context.DeadlineExceeded)
		}
		writes.take()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		if terminal, ok := s.Out.(*os.File); ok && !s.Bool("once") && cli.IsTerminal(terminal) {
			live(ctx, s, c, openScreen(terminal), stop, tick.C, last, writes)
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := sampleAll(ctx, s, c)
		if ctx.Err() != nil {
			return nil
		}
		_, err := io.WriteString(s.Out, strings.Join(now.lines(last, writes.take(), 0), "\n")+"\n")
		return err
	})
}

// live shows a frame at each tick, and at once when the size of the terminal has changed, until ctx
// ends.
func live(ctx context.Context, s *cli.Session, c *clientv3.Client, on *screen, stop func(), tick <-chan time.Time, last sample, writes *writeCounter) {
	defer on.close()
	on.quitOnKey(s.In, stop)
	frame := func(int) []string { return []string{"etcdctl top"} } // until the first interval has passed
	on.draw(frame)
	for {
		select {
		case <-ctx.Done():
			return
		case <-on.resized:
		case <-tick:
			now, before := sampleAll(ctx, s, c), last
			if ctx.Err() != nil {
				return
			}
			written := writes.take()
			frame = func(columns int) []string { return now.lines(before, written, columns) }
			last = now
		}
		on.draw(frame)
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

// nameColumns and nameColumnsMin are the columns of the names in the tables, of which a narrow
// terminal leaves fewer.
const (
	nameColumns    = 28
	nameColumnsMin = 10
)

// named returns a line of a table: a name, and texts of further columns that stay whole where the
// terminal is narrow. 0 columns means any number.
func named(columns int, name, rest string) string {
	room := nameColumns
	if columns > 0 {
		room = min(max(columns-texttable.Width(rest), nameColumnsMin), nameColumns)
		if texttable.Width(name) > room { // an endpoint without its scheme is still one
			name = strings.TrimPrefix(strings.TrimPrefix(name, "http://"), "https://")
		}
		name = texttable.Cut(name, room)
	}
	return texttable.PadRight(name, room) + rest
}

// lines returns the figures, and rates since an earlier sample, for a terminal with so many
// columns.
func (n sample) lines(last sample, writes map[string]int64, columns int) (lines []string) {
	add := func(name, format string, values ...any) {
		lines = append(lines, named(columns, name, fmt.Sprintf(format, values...)))
	}
	seconds := max(n.at.Sub(last.at).Seconds(), 0.001)
	lines = append(lines, fmt.Sprintf("etcdctl top  %s  leases %s", n.at.Format(time.TimeOnly), n.leases), "")
	add("ENDPOINT", " %-8s %10s %10s %9s %9s", "ROLE", "REVISION", "DB SIZE", "WATCHERS", "REQ/S")
	methods, durations := map[string]float64{}, map[string]histogram{}
	for i, e := range n.endpoints {
		if e.err != nil {
			text, _, _ := strings.Cut(e.err.Error(), "\n")
			lines = append(lines, fmt.Sprintf("%s %s", texttable.PadRight(e.endpoint, nameColumns), text))
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
		add(e.endpoint, " %-8s %10d %10s %9.0f %9.1f", role, e.status.Header.GetRevision(),
			cli.FormatBytes(e.status.DbSize), e.metrics["etcd_debugging_mvcc_watcher_total"], total)
	}
	lines = append(lines, "")
	add("REQUESTS BY METHOD", " %9s", "PER S")
	for _, method := range ranked(methods) {
		add(method, " %9.1f", methods[method])
	}
	if len(durations) > 0 { // older members do not measure durations
		lines = append(append(lines, ""), slowestLines(durations, columns)...)
	}
	prefixes := map[string]float64{}
	for prefix, count := range writes {
		prefixes[prefix] = float64(count) / seconds
	}
	lines = append(lines, "")
	add("WRITES BY PREFIX", " %9s", "PER S")
	for _, prefix := range ranked(prefixes) {
		add(readable([]byte(prefix)), " %9.1f", prefixes[prefix])
	}
	return lines
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

// slowestLines returns the table of the methods whose slowest requests took longest.
func slowestLines(durations map[string]histogram, columns int) []string {
	longest := map[string]float64{}
	for method, h := range durations {
		longest[method] = h.quantile(1)
	}
	lines := []string{named(columns, "SLOWEST REQUESTS", fmt.Sprintf(" %9s %9s %9s", "HALF", "99%", "ALL"))}
	for _, method := range ranked(longest) {
		h := durations[method]
		lines = append(lines, named(columns, method, fmt.Sprintf(" %9s %9s %9s", bound(h, 0.5), bound(h, 0.99), bound(h, 1))))
	}
	return lines
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
