package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cairn/cmd/bench/timeline"
)

// windowsPerPhase is the number of windows for which a phase's throughput and latency are reported.
const windowsPerPhase = 30

// diskReserve is left free on the server's disk: a long run that reaches it ends with an error.
const diskReserve = 2 << 30

// longRun is a run of several phases on one server, with puts at a constant rate in all of them.
type longRun struct {
	longSettings

	name   string
	server *server
	line   *timeline.Timeline
	puts   *probe // nil while the server is down
	stderr io.Writer
	bar    *progress
	phases []phaseResult
	facts  []fact
	began  time.Time
}

// phaseResult is the state of the server at a phase's end.
type phaseResult struct {
	RSSBytes    int64   `json:"rss_bytes"`
	DiskBytes   int64   `json:"disk_bytes"`
	ServerCores float64 `json:"server_cores"` // CPU seconds per second
}

// fact is a figure of the run besides those of its phases.
type fact struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Text  string  `json:"text"`
	Goal  string  `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

// startLongRun starts the server and the puts.
func startLongRun(ctx context.Context, name string, s longSettings, stderr io.Writer) (*longRun, error) {
	if err := requireDisk(s.dir); err != nil {
		return nil, err
	}
	syscall.Sync() // what earlier runs wrote must not compete with this one's fsyncs
	r := &longRun{longSettings: s, name: name, stderr: stderr, bar: newProgress(stderr, ""), began: time.Now()}
	r.line = timeline.New(r.began)
	var err error
	if r.server, err = startServer(ctx, s.program, s.dir, false); err != nil {
		return nil, err
	}
	if err := r.startPuts(ctx); err != nil {
		r.server.remove()
		return nil, err
	}
	return r, nil
}

// startPuts begins the puts beside the other work.
func (r *longRun) startPuts(ctx context.Context) error {
	s := r.putSettings()
	s.endpoints = []endpoint{r.server.endpoint()}
	var err error
	r.puts, err = startProbe(ctx, s, r.line)
	return err
}

// stopPuts ends the puts. It does nothing when they have been ended.
func (r *longRun) stopPuts() error {
	if r.puts == nil {
		return nil
	}
	puts := r.puts
	r.puts = nil
	return errors.Join(puts.end(), r.server.running())
}

// close ends the puts and removes the server.
func (r *longRun) close() {
	_ = r.stopPuts() // the run has ended with an error already, or the puts have been stopped
	r.server.remove()
}

// background starts a workload beside the puts.
func (r *longRun) background(kind workloadKind, flags ...string) (*background, error) {
	return startBackground(kind, r.server, r.line, r.nice, flags...)
}

// run starts a workload and waits until it has completed.
func (r *longRun) run(ctx context.Context, kind workloadKind, flags ...string) (*report, error) {
	b, err := r.background(kind, flags...)
	if err != nil {
		return nil, err
	}
	defer b.kill()
	return b.wait(ctx)
}

// phase runs f as a phase of the run. With a total, the bar shows which part of that many
// operations has completed.
func (r *longRun) phase(ctx context.Context, name string, total uint64, f func() error) error {
	before, err := sampleProcess(r.server.pid())
	if err != nil {
		return err
	}
	began := time.Now()
	r.line.Begin(name, began)
	hide := r.show(name, total)
	pid := r.server.pid()
	err = f()
	ended := time.Now()
	r.line.End(ended)
	hide()
	if pid != r.server.pid() { // it was restarted, and its CPU time starts at 0 again
		before = usageSample{}
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return fmt.Errorf("%s: %w", name, errors.Join(err, r.server.running()))
	}
	after, err := sampleProcess(r.server.pid())
	if err != nil {
		return fmt.Errorf("%s: %w", name, errors.Join(err, r.server.running()))
	}
	disk, err := r.server.diskBytes()
	if err != nil {
		return err
	}
	r.phases = append(r.phases, phaseResult{
		RSSBytes: after.rssBytes, DiskBytes: disk,
		ServerCores: (after.cpu() - before.cpu()).Seconds() / ended.Sub(began).Seconds(),
	})
	all := r.line.Phases(1)
	w := all[len(all)-1].Whole
	figures := ""
	if w.Work > 0 {
		figures += ", " + perSecond(w.Rate()) + " operations"
	}
	if w.Puts > 0 {
		figures += ", put p50 " + formatMicros(w.P50) + ", p99 " + formatMicros(w.P99)
	}
	fmt.Fprintf(r.stderr, "%s: %.1f s%s, RSS %s, disk %s\n", name, w.Seconds, figures, formatBytes(float64(after.rssBytes)), formatBytes(float64(disk)))
	return requireSpace(r.dir)
}

// idle is a phase without other work than the puts, which lasts for -phase.
func (r *longRun) idle(ctx context.Context, name string) error {
	return r.phase(ctx, name, 0, func() error {
		sleep(ctx, r.phaseLength)
		return nil
	})
}

// show draws the bar of a phase until the returned function is called.
func (r *longRun) show(name string, total uint64) (hide func()) {
	if r.bar.out == nil {
		return func() {}
	}
	began := time.Now()
	stop := repeat(2*tickInterval, func(now time.Time) {
		fmt.Fprintf(r.bar.out, "\r%s\x1b[K", phaseLine(r.name+" "+name, total, r.line.Done(), now.Sub(began), r.line.Recent(2*time.Second, now)))
	})
	return func() {
		stop()
		r.bar.done()
	}
}

// phaseLine is the bar's text, with the figures of the last seconds.
func phaseLine(title string, total, done uint64, elapsed time.Duration, recent timeline.Window) string {
	line := title
	if total > 0 {
		share := min(float64(done)/float64(total), 1)
		const width = 24
		full := int(share * width)
		line += fmt.Sprintf(" [%s%s] %3.0f%%  %d of %d,", strings.Repeat("=", full), strings.Repeat(" ", width-full), share*100, done, total)
	}
	return line + fmt.Sprintf(" %s  %s  put p99 %s", elapsed.Round(100*time.Millisecond), perSecond(recent.Rate()), formatMicros(recent.P99))
}

// check adds a fact with the goal that it is at most, or at least, a limit.
func (r *longRun) check(name string, value float64, format func(float64) string, limit float64, atMost bool) {
	sign, met := "≥", value >= limit
	if atMost {
		sign, met = "≤", value <= limit
	}
	r.facts = append(r.facts, fact{Name: name, Value: value, Text: format(value), Goal: sign + " " + format(limit), Met: &met})
}

// note adds a fact without a goal.
func (r *longRun) note(name string, value float64, format func(float64) string) {
	r.facts = append(r.facts, fact{Name: name, Value: value, Text: format(value)})
}

// requireSpace returns an error when the disk of a directory is almost full.
func requireSpace(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < diskReserve {
		return fmt.Errorf("-dir %s: %s are free, want %s: choose another directory, or a smaller run (-keys, -history)",
			dir, formatBytes(float64(free)), formatBytes(diskReserve))
	}
	return nil
}
