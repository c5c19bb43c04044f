package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// outcome is the result of a comparison. Its JSON has every run; text and markdown show medians.
type outcome struct {
	Setting   setting           `json:"setting"`
	Scenarios []*scenarioResult `json:"scenarios"`
}

// setting has the facts, other than the servers' code, that the figures depend on.
type setting struct {
	Theirs      string  `json:"theirs"`
	Ours        string  `json:"ours"`
	CPUs        int     `json:"cpus"`
	Directory   string  `json:"directory"`
	FsyncMicros float64 `json:"fsync_microseconds"` // median of 4 KiB
	Runs        int     `json:"runs"`
	Seconds     float64 `json:"seconds_per_load"`
	Short       bool    `json:"short"`
	TLS         bool    `json:"tls"`
}

// scenarioResult holds both servers' runs of a scenario.
type scenarioResult struct {
	Name    string     `json:"name"`
	Summary string     `json:"summary"`
	Theirs  sideResult `json:"theirs"`
	Ours    sideResult `json:"ours"`

	scenario scenario
}

// sideResult holds one server's runs.
type sideResult struct {
	Runs   []sample `json:"runs"`
	Errors []string `json:"errors,omitempty"`
}

func (s *sideResult) add(got sample, err error) {
	if err != nil {
		s.Errors = append(s.Errors, err.Error())
		return
	}
	s.Runs = append(s.Runs, got)
}

// newOutcome checks the servers and the disk before the first run, so that errors are reported at
// once.
func newOutcome(c comparison) (*outcome, error) {
	if err := requireDisk(c.dir); err != nil {
		return nil, err
	}
	fsync, err := fsyncMedian(c.dir)
	if err != nil {
		return nil, err
	}
	o := &outcome{Setting: setting{
		CPUs: runtime.NumCPU(), Directory: c.dir, FsyncMicros: micros(fsync),
		Runs: c.runs, Seconds: c.duration.Seconds(), Short: c.short, TLS: c.secure,
	}}
	for _, side := range []struct {
		flag    string
		program program
		text    *string
	}{{"-theirs", c.theirs, &o.Setting.Theirs}, {"-ours", c.ours, &o.Setting.Ours}} {
		if _, err := os.Stat(side.program.path); err != nil {
			return nil, fmt.Errorf("%s: %w: build it, install it (apt-get install etcd-server) or name another", side.flag, err)
		}
		version, err := side.program.version()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", side.flag, err)
		}
		*side.text = strings.Join(append([]string{side.program.path}, side.program.args...), " ") + " (" + version + ")"
	}
	return o, nil
}

func (o *outcome) add(sc scenario) *scenarioResult {
	r := &scenarioResult{Name: sc.name, Summary: sc.summary, scenario: sc}
	o.Scenarios = append(o.Scenarios, r)
	return r
}

func (o *outcome) failed() bool {
	return slices.ContainsFunc(o.Scenarios, func(r *scenarioResult) bool {
		return len(r.Theirs.Errors)+len(r.Ours.Errors) > 0
	})
}

func (s setting) text() string {
	text := fmt.Sprintf("theirs: %s\nours:   %s\n%d CPUs shared with the load, data in %s (4 KiB fsync %s), %d runs of %s, medians\n",
		s.Theirs, s.Ours, s.CPUs, s.Directory, formatMicros(s.FsyncMicros), s.Runs, time.Duration(s.Seconds*float64(time.Second)))
	if s.TLS {
		text += "mutual TLS on the client ports\n"
	}
	if s.Short {
		text += "smoke test with 1/100 of the keys: the figures mean nothing\n"
	}
	return text
}

// write prints the comparison.
func (o *outcome) write(w io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(o)
	}
	table := o.table()
	text := o.Setting.text() + "\n" + alignTable(table)
	if format == "markdown" {
		text = "```\n" + o.Setting.text() + "```\n\n" + markdownTable(table)
	}
	for _, r := range o.Scenarios {
		for _, side := range []struct {
			name   string
			errors []string
		}{{"theirs", r.Theirs.Errors}, {"ours", r.Ours.Errors}} {
			for _, e := range side.errors {
				text += fmt.Sprintf("\n%s, %s: failed: %s\n", r.Name, side.name, e)
			}
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// table returns the header and a row per scenario and metric.
func (o *outcome) table() [][]string {
	rows := [][]string{{"scenario", "figure", "theirs", "±", "ours", "±", "ours/theirs", "goal"}}
	for _, r := range o.Scenarios {
		name := r.Name
		for _, m := range r.scenario.metrics {
			theirs, theirsSpread, hasTheirs := r.Theirs.summary(m)
			ours, oursSpread, hasOurs := r.Ours.summary(m)
			row := []string{name, m.name, r.Theirs.missing(), "", r.Ours.missing(), "", "", ""}
			if hasTheirs {
				row[2], row[3] = m.format(theirs), theirsSpread
			}
			if hasOurs {
				row[4], row[5] = m.format(ours), oursSpread
			}
			if hasTheirs && hasOurs && theirs != 0 {
				row[6] = fmt.Sprintf("%.2f", ours/theirs)
				row[7] = r.scenario.goals[m.name].verdict(m, theirs, ours)
			}
			rows = append(rows, row)
			name = ""
		}
	}
	return rows
}

// summary returns a metric's median over the runs, and their spread: half of the distance from the
// smallest to the largest, as a share of the median. One run has no spread.
func (s sideResult) summary(m metric) (mid float64, spread string, ok bool) {
	var values []float64
	for _, run := range s.Runs {
		values = append(values, run[m.name])
	}
	if len(values) == 0 {
		return 0, "", false
	}
	mid = median(values)
	if len(values) > 1 && mid != 0 {
		spread = fmt.Sprintf("%.0f%%", (slices.Max(values)-slices.Min(values))/2/mid*100)
	}
	return mid, spread, true
}

// missing replaces the figures of a server without a successful run.
func (s sideResult) missing() string {
	if len(s.Errors) > 0 {
		return "failed"
	}
	return "–"
}

// verdict reports whether the figures meet the goal; it is empty where there is none.
func (g goal) verdict(m metric, theirs, ours float64) string {
	ratio := ours / theirs
	word := func(met bool) string {
		if met {
			return "met"
		}
		return "missed"
	}
	switch {
	case g.atLeast > 0:
		return fmt.Sprintf("≥ %.2f %s", g.atLeast, word(ratio >= g.atLeast))
	case g.atMost > 0:
		return fmt.Sprintf("≤ %.2f %s", g.atMost, word(ratio <= g.atMost))
	case g.oursBelow > 0:
		return fmt.Sprintf("ours < %s %s", m.format(g.oursBelow), word(ours < g.oursBelow))
	}
	return ""
}

// median returns the middle of the values, of an even number the mean of the middle two. values
// must not be empty.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// alignTable writes rows in columns, the first two flush left and the figures flush right.
func alignTable(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < 2 || i == len(row)-1 {
				line.WriteString(cell + padding + "  ")
			} else {
				line.WriteString(padding + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

func markdownTable(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|---|---" + strings.Repeat("|--:", len(row)-3) + "|---|\n")
		}
	}
	return b.String()
}
