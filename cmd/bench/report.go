package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"cairn/cmd/bench/histogram"
)

// report is the outcome of one measured run. Its JSON is meant for programs: units are in the
// names.
type report struct {
	Workload    string `json:"workload"`
	Connections int    `json:"connections"`
	Clients     int    `json:"clients"`
	Keys        int    `json:"keys"`
	KeyBytes    int    `json:"key_bytes"`
	ValueBytes  int    `json:"value_bytes"`

	Seconds           float64            `json:"seconds"` // from the start of the first request to the end of the last one
	Requests          uint64             `json:"requests"`
	RequestsPerSecond float64            `json:"requests_per_second"`
	KeysPerSecond     float64            `json:"keys_per_second"`
	Latency           latency            `json:"latency_microseconds"`
	ByKind            map[string]latency `json:"by_kind_microseconds,omitempty"`
	WorstSecond       *worst             `json:"worst_second,omitempty"`
	Errors            errorReport        `json:"errors"`
	Received          map[string]int64   `json:"received,omitempty"`
	Server            *serverUsage       `json:"server,omitempty"`
	// ClientMicrosPerRequest is bench's own CPU: where it is near or above the server's, the client
	// limits the throughput.
	ClientMicrosPerRequest float64 `json:"client_cpu_microseconds_per_request"`

	kindOrder []string
}

// latency is a distribution, in microseconds.
type latency struct {
	Requests uint64  `json:"requests"`
	Mean     float64 `json:"mean"`
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p99.9"`
	Max      float64 `json:"max"`
}

type worst struct {
	Second        int     `json:"second"` // counted from 1
	Requests      uint64  `json:"requests"`
	SlowestMicros float64 `json:"slowest_microseconds"`
}

type errorReport struct {
	Total uint64       `json:"total"`
	Texts []errorCount `json:"texts,omitempty"`
}

// serverUsage is the server's CPU over the measured window, and its memory at the window's end.
type serverUsage struct {
	PID                 int     `json:"pid"`
	CPUMicrosPerRequest float64 `json:"cpu_microseconds_per_request"`
	UserMicros          float64 `json:"user_microseconds_per_request"`
	SystemMicros        float64 `json:"system_microseconds_per_request"`
	Cores               float64 `json:"cores"` // CPU seconds per second
	DiskBytesPerSecond  float64 `json:"disk_bytes_written_per_second"`
	RSSBytes            int64   `json:"rss_bytes"`
	RSSPeakBytes        int64   `json:"rss_peak_bytes"` // since the server's start
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func newLatency(h *histogram.Histogram) latency {
	return latency{
		Requests: h.Count(),
		Mean:     micros(h.Mean()),
		P50:      micros(h.Quantile(0.5)),
		P90:      micros(h.Quantile(0.9)),
		P99:      micros(h.Quantile(0.99)),
		P999:     micros(h.Quantile(0.999)),
		Max:      micros(h.Max()),
	}
}

// newReport computes the figures from a phase and the samples before and after it. CPU is divided
// by all requests, including failed ones, since they cost as well.
func newReport(kind workloadKind, s settings, kinds []string, rec *recorder, before, after usageSample) *report {
	elapsed := rec.last.Sub(rec.start)
	r := &report{
		Workload: kind.name, Connections: s.connections, Clients: s.clients,
		Keys: s.keys, KeyBytes: s.keyBytes, ValueBytes: s.valueBytes,
		Seconds: elapsed.Seconds(), Requests: rec.total.Count(), Latency: newLatency(&rec.total),
		Errors: errorReport{Total: rec.failed, Texts: rec.errorCounts()}, kindOrder: kinds,
	}
	keys := float64(r.Requests)
	if kind.keysPerRequest != nil {
		keys *= float64(kind.keysPerRequest(s))
	}
	if kind.finite && r.Requests == uint64(kind.total(s)) {
		keys = float64(s.keys) // the last request may be smaller
	}
	if elapsed > 0 {
		r.RequestsPerSecond = float64(r.Requests) / elapsed.Seconds()
		r.KeysPerSecond = keys / elapsed.Seconds()
	}
	if len(kinds) > 1 {
		r.ByKind = map[string]latency{}
		for i, name := range kinds {
			r.ByKind[name] = newLatency(&rec.byKind[i])
		}
	}
	if i, w, ok := worstSecond(rec.seconds, elapsed); ok {
		r.WorstSecond = &worst{Second: i + 1, Requests: w.requests, SlowestMicros: micros(w.slowest)}
	}
	all := float64(max(r.Requests+r.Errors.Total, 1))
	r.ClientMicrosPerRequest = micros(after.client-before.client) / all
	if before.present && after.present {
		r.Server = &serverUsage{
			PID:                 s.pid,
			CPUMicrosPerRequest: micros(after.cpu()-before.cpu()) / all,
			UserMicros:          micros(after.user-before.user) / all,
			SystemMicros:        micros(after.system-before.system) / all,
			RSSBytes:            after.rssBytes,
			RSSPeakBytes:        after.rssPeak,
		}
		if elapsed > 0 {
			r.Server.Cores = (after.cpu() - before.cpu()).Seconds() / elapsed.Seconds()
			r.Server.DiskBytesPerSecond = float64(after.written-before.written) / elapsed.Seconds()
		}
	}
	return r
}

// write prints the report as text or JSON.
func (r *report) write(w io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

func (r *report) text() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s: %d connections, %d clients, %d keys, %d B keys, %d B values\n",
		r.Workload, r.Connections, r.Clients, r.Keys, r.KeyBytes, r.ValueBytes)
	row("requests", "%d in %.2f s, %d errors", r.Requests, r.Seconds, r.Errors.Total)
	row("throughput", "%.1f requests/s", r.RequestsPerSecond)
	if r.KeysPerSecond != r.RequestsPerSecond {
		row("", "%.1f keys/s", r.KeysPerSecond)
	}
	row("latency", "%s", r.Latency.text())
	for _, name := range r.kindOrder {
		if l, ok := r.ByKind[name]; ok && l.Requests > 0 {
			row("  "+name, "%s  (%d requests)", l.text(), l.Requests)
		}
	}
	if r.WorstSecond != nil {
		row("worst second", "second %d: %d requests, the slowest %s", r.WorstSecond.Second, r.WorstSecond.Requests, formatMicros(r.WorstSecond.SlowestMicros))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Received)) {
		row("received", "%d %s, %s", r.Received[name], name, perSecond(float64(r.Received[name])/max(r.Seconds, 1e-9)))
	}
	if s := r.Server; s != nil {
		row("server", "%s CPU per request (%s user, %s system), %.2f cores", formatMicros(s.CPUMicrosPerRequest), formatMicros(s.UserMicros), formatMicros(s.SystemMicros), s.Cores)
		row("", "%s written to disk per second", formatBytes(s.DiskBytesPerSecond))
		row("", "%s memory (RSS), %s at its peak, process %d", formatBytes(float64(s.RSSBytes)), formatBytes(float64(s.RSSPeakBytes)), s.PID)
	}
	row("client", "%s CPU per request", formatMicros(r.ClientMicrosPerRequest))
	for _, e := range r.Errors.Texts {
		row("error", "%d × %s", e.Count, e.Text)
	}
	return b.String()
}

func (l latency) text() string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", formatMicros(l.P50), formatMicros(l.P90),
		formatMicros(l.P99), formatMicros(l.P999), formatMicros(l.Max))
}

// formatMicros formats microseconds with three significant digits, in a suitable unit.
func formatMicros(us float64) string {
	switch {
	case us >= 1e6:
		return threeDigits(us/1e6) + " s"
	case us >= 1e3:
		return threeDigits(us/1e3) + " ms"
	}
	return threeDigits(us) + " µs"
}

func formatBytes(n float64) string {
	switch {
	case n >= 1<<30:
		return threeDigits(n/(1<<30)) + " GiB"
	case n >= 1<<20:
		return threeDigits(n/(1<<20)) + " MiB"
	}
	return threeDigits(n/(1<<10)) + " KiB"
}

func threeDigits(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
