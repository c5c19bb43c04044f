package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"

	"cairn/cmd/bench/plot"
	"cairn/cmd/bench/timeline"
)

// longReport is the outcome of a long run. Its JSON has the figures of every window.
type longReport struct {
	Name   string      `json:"name"`
	Server string      `json:"server"`
	CPUs   int         `json:"cpus"`
	Dir    string      `json:"directory"`
	Keys   int         `json:"keys"`
	Value  int         `json:"value_bytes"`
	Puts   float64     `json:"puts_per_second"`
	Rate   float64     `json:"operations_limit_per_second,omitempty"`
	Phases []longPhase `json:"phases"`
	Facts  []fact      `json:"facts"`
}

// longPhase has the figures of a phase, and the state of the server at its end.
type longPhase struct {
	timeline.Phase
	phaseResult
}

func (r *longRun) report() (longReport, error) {
	version, err := r.program.version()
	if err != nil {
		return longReport{}, err
	}
	report := longReport{
		Name: r.name, Server: r.program.path + " (" + version + ")", CPUs: runtime.NumCPU(), Dir: r.dir,
		Keys: r.keys, Value: r.valueBytes, Puts: r.putRate, Rate: r.rate, Facts: r.facts,
	}
	for i, p := range r.line.Phases(windowsPerPhase) {
		row := longPhase{Phase: p}
		if i < len(r.phases) { // a phase that failed has none
			row.phaseResult = r.phases[i]
		}
		report.Phases = append(report.Phases, row)
	}
	return report, nil
}

// write prints the tables and draws the plot.
func (r *longRun) write(w io.Writer) error {
	report, err := r.report()
	if err != nil {
		return err
	}
	if r.svg != "" {
		if err := report.draw(r.svg); err != nil {
			return err
		}
	}
	if r.output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	_, err = io.WriteString(w, report.text(r.output == "markdown"))
	return err
}

func (r longReport) text(markdown bool) string {
	head := fmt.Sprintf("%s: %s, %d CPUs shared with the load, data in %s\n%d keys, values of %d B, %s puts a second beside the load\n",
		r.Name, r.Server, r.CPUs, r.Dir, r.Keys, r.Value, threeDigits(r.Puts))
	if r.Rate > 0 {
		head += fmt.Sprintf("the load is limited to %s\n", perSecond(r.Rate))
	}
	render := alignTable
	if markdown {
		render, head = markdownTable, "```\n"+head+"```\n"
	}
	text := head + "\n" + render(r.phaseTable())
	if len(r.Facts) > 0 {
		text += "\n" + render(r.factTable())
	}
	return text
}

// phaseTable returns a header and a row for each phase.
func (r longReport) phaseTable() [][]string {
	rows := [][]string{{"phase", "", "time", "operations", "per second", "put p50", "put p99", "worst window's p99", "slowest put", "server's CPUs", "RSS", "disk"}}
	for i, p := range r.Phases {
		worst := 0.0
		for _, w := range p.Windows {
			worst = max(worst, w.P99)
		}
		operations, rate := "", ""
		if p.Whole.Work > 0 {
			operations, rate = fmt.Sprint(p.Whole.Work), perSecond(p.Whole.Rate())
		}
		latencies := []string{"", "", "", ""}
		if p.Whole.Puts > 0 {
			latencies = []string{formatMicros(p.Whole.P50), formatMicros(p.Whole.P99), formatMicros(worst), formatMicros(p.Whole.Max)}
		}
		row := append([]string{fmt.Sprint(i + 1), p.Name, threeDigits(p.Whole.Seconds) + " s", operations, rate}, latencies...)
		rows = append(rows, append(row, threeDigits(p.ServerCores), formatBytes(float64(p.RSSBytes)), formatBytes(float64(p.DiskBytes))))
	}
	return rows
}

// factTable returns a header and a row for each fact.
func (r longReport) factTable() [][]string {
	rows := [][]string{{"figure", "", "value", "goal", ""}}
	for _, f := range r.Facts {
		verdict := ""
		if f.Met != nil {
			verdict = map[bool]string{true: "met", false: "missed"}[*f.Met]
		}
		rows = append(rows, []string{f.Name, "", f.Text, f.Goal, verdict})
	}
	return rows
}

// draw writes the plot: a point for each window, and bands for the phases.
func (r longReport) draw(path string) error {
	f := plot.Figure{Title: fmt.Sprintf("bench %s: %d keys, values of %d B, %s puts a second", r.Name, r.Keys, r.Value, threeDigits(r.Puts))}
	var rate, p50, p99 []plot.Point
	gap := plot.Point{Y: math.NaN()}
	for _, p := range r.Phases {
		f.Bands = append(f.Bands, plot.Band{Name: p.Name, Start: p.Whole.Start, End: p.Whole.Start + p.Whole.Seconds})
		for _, w := range p.Windows {
			at := w.Start + w.Seconds/2
			if p.Whole.Work > 0 {
				rate = append(rate, plot.Point{X: at, Y: w.Rate()})
			}
			p50, p99 = append(p50, plot.Point{X: at, Y: w.P50}), append(p99, plot.Point{X: at, Y: w.P99})
		}
		rate, p50, p99 = append(rate, gap), append(p50, gap), append(p99, gap)
	}
	f.Charts = []plot.Chart{
		{Title: "operations of the load per second", Format: func(v float64) string { return strconv.FormatFloat(v/1000, 'g', 4, 64) + "k" }, Series: []plot.Series{{Name: "operations", Points: rate}}},
		{Title: "latency of single puts beside it", Format: tickMicros, Log: true, Series: []plot.Series{{Name: "p50", Points: p50}, {Name: "p99", Points: p99}}},
	}
	var svg bytes.Buffer
	if err := f.Write(&svg); err != nil {
		return err
	}
	if err := os.WriteFile(path, svg.Bytes(), 0o644); err != nil {
		return fmt.Errorf("-svg: %w", err)
	}
	return nil
}

// tickMicros formats a round number of microseconds.
func tickMicros(us float64) string { return (time.Duration(us) * time.Microsecond).String() }
