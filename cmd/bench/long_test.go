package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/cmd/bench/timeline"
	"cairn/test/harness"
)

// long runs `bench large` or `bench many` on a real server, in a small form, and returns the
// report.
func long(t *testing.T, commandLine string) longReport {
	t.Helper()
	r, err := tryLong(t, commandLine)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tryLong is long, and returns the error of the run.
func tryLong(t *testing.T, commandLine string) (longReport, error) {
	t.Helper()
	dir := t.TempDir()
	svg := filepath.Join(dir, "plot.svg")
	args := append(strings.Fields(commandLine), "-server", harness.Etcd(t), "-dir", dir, "-svg", svg, "-nice", "0", "-o", "json")
	var out, progress bytes.Buffer
	if err := dispatch(t.Context(), args, &out, &progress); err != nil {
		return longReport{}, fmt.Errorf("%w\n%s%s", err, progress.String(), out.String())
	}
	var r longReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("the report is no JSON: %v\n%s", err, out.String())
	}
	drawn, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(bytes.NewReader(drawn)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
	var puts uint64
	for _, p := range r.Phases {
		if !strings.Contains(string(drawn), p.Name) {
			t.Errorf("the plot does not name phase %q", p.Name)
		}
		// On a machine that stalls, a short phase may have no put.
		silent := p.Name == "restart" || p.Name == "reads"
		if silent && p.Whole.Puts > 0 || p.RSSBytes == 0 || p.DiskBytes == 0 {
			t.Errorf("phase %q: %d puts, %d bytes of RSS, %d of disk", p.Name, p.Whole.Puts, p.RSSBytes, p.DiskBytes)
		}
		puts += p.Whole.Puts
	}
	if puts == 0 {
		t.Error("no phase has a put")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind in the directory: %v, %v", left, err)
	}
	return r, nil
}

func (r longReport) phaseNamed(name string) timeline.Phase {
	for _, p := range r.Phases {
		if p.Name == name {
			return p.Phase
		}
	}
	return timeline.Phase{}
}

func (r longReport) fact(name string) float64 {
	for _, f := range r.Facts {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

func TestLarge(t *testing.T) {
	t.Parallel()
	r := long(t, "large -keys 3000 -value-size 128 -batch 16 -clients 8 -history 2MiB -phase 300ms -reads 10 -put-rate 200 -put-clients 4")
	var names []string
	for _, p := range r.Phases {
		names = append(names, p.Name)
	}
	if want := []string{"rest", "fill", "overwrite", "backup", "restart", "reads", "compaction", "new member"}; !slices.Equal(names, want) {
		t.Errorf("phases %q, want %q", names, want)
	}
	if got := r.phaseNamed("fill").Whole.Work; got < 3000 || got >= 3000+16 {
		t.Errorf("%d keys filled, want 3000, in whole requests", got)
	}
	for _, name := range []string{"overwrite", "backup", "compaction", "new member"} {
		if r.phaseNamed(name).Whole.Work == 0 {
			t.Errorf("phase %q: nothing was overwritten", name)
		}
	}
	for _, name := range []string{
		"backup", "backup received at", "ready after SIGKILL", "count from a random place, p99", "page of 500 at a random place, p50",
		"compaction done after", "new member has caught up after",
	} {
		if r.fact(name) <= 0 {
			t.Errorf("figure %q is %v", name, r.fact(name))
		}
	}
	// A compressed backup of random values of a 64 character alphabet has at least half of their
	// bytes.
	if got := r.fact("backup"); got < 3000*128/2 {
		t.Errorf("a backup of 3000 values of 128 B has %v bytes", got)
	}
}

func TestManyLeases(t *testing.T) {
	t.Parallel()
	const leases = "many -leases 300 -together 150 -watches 0 -connections 0 -clients 10 -phase 300ms -put-rate 200 -put-clients 4 -ttl "
	var r longReport
	var err error
	// On a slow machine, the leases expire before they have been renewed: then it needs more time.
	for _, ttl := range []string{"3s", "15s", "60s"} {
		if r, err = tryLong(t, leases+ttl); err == nil || !strings.Contains(err.Error(), "-ttl of more than") {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	checkOperations(t, r, map[string]uint64{
		"leases granted": 300, "leases renewed": 300, "leases expired": 300, "granted, to end together": 150, "ended together": 150,
	})
}

func TestManyWatchesAndConnections(t *testing.T) {
	t.Parallel()
	r := long(t, "many -leases 0 -together 0 -watches 400 -streams 10 -connections 20 -clients 10 -phase 300ms -put-rate 200 -put-clients 4")
	checkOperations(t, r, map[string]uint64{"watches opened": 400, "connections opened": 20})
}

// checkOperations compares how many operations completed in phases, and checks that their puts are
// compared with those at rest.
func checkOperations(t *testing.T, r longReport, operations map[string]uint64) {
	t.Helper()
	for name, want := range operations {
		if got := r.phaseNamed(name).Whole.Work; got != want {
			t.Errorf("phase %q: %d operations, want %d", name, got, want)
		}
		compared := slices.ContainsFunc(r.Facts, func(f fact) bool { return f.Name == name+": put p99 / at rest" })
		if rested := r.phaseNamed(restPhase).Whole.Puts > 0; compared != rested {
			t.Errorf("phase %q: compared with the rest: %v, puts at rest: %v", name, compared, rested)
		}
	}
}

// The process of a workload that fails ends the phase with its error.
func TestBackgroundFails(t *testing.T) {
	line := timeline.New(time.Now())
	b, err := startBackground(getKind, &server{client: "127.0.0.1:1"}, line, 0, "-total", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.wait(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "is an etcd serving there?") {
		t.Errorf("error %v, want the process's status and text", err)
	}
	// A workload whose requests fail, and one that is ended.
	address := serve(t, newStub())
	if b, err = startBackground(getKind, &server{client: address}, line, 0, "-total", "3"); err != nil {
		t.Fatal(err)
	}
	if r, err := b.wait(t.Context()); r == nil || err == nil || !strings.Contains(err.Error(), "3 of 3 requests ended in errors, such as: key missing") {
		t.Errorf("report %+v, error %v", r, err)
	}
	line.Begin("puts", time.Now())
	if b, err = startBackground(putKind, &server{client: address}, line, 0, "-duration", "1h"); err != nil {
		t.Fatal(err)
	}
	for b.done.Load() == 0 && t.Context().Err() == nil {
		sleep(t.Context(), time.Millisecond)
	}
	r, err := b.stop()
	if err != nil || r.Requests == 0 || line.Done() < b.done.Load() {
		t.Errorf("report %+v, error %v, %d in the timeline", r, err, line.Done())
	}
}

// Held watches receive the events of their keys.
func TestWatchReceivesEvents(t *testing.T) {
	address := harness.Start(t).URL()
	endpoints, err := parseEndpoints(address)
	if err != nil {
		t.Fatal(err)
	}
	s := defaultSettings()
	s.endpoints, s.clients, s.keys = endpoints, 2, 10
	keys, err := newKeyspace(s)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := watchKind.open(t.Context(), s, keys)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.close()
	w := opened.(*watchWorkload)
	for i := range 10 {
		if _, err := w.client(i%2)(t.Context(), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		if _, err := w.kv(0).Put(t.Context(), &pb.PutRequest{Key: keys.appendKey(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for w.counters()["events"] != 10 {
		if !sleep(ctx, time.Millisecond) {
			t.Fatalf("%d events arrived, want 10", w.counters()["events"])
		}
	}
}

func TestScatterStride(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6, 10, 100, 997, 5040} {
		w := fillWorkload{keys: &keyspace{keys: n}, stride: scatterStride(n)}
		seen := map[int]bool{}
		for i := range n {
			seen[w.position(i)] = true
		}
		if len(seen) != n {
			t.Errorf("%d keys: %d different positions", n, len(seen))
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "1500": 1500, "2GiB": 2 << 30, "1.5KiB": 1536, "30MiB": 30 << 20, "7B": 7} {
		var s size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%s: %d, %v, want %d", text, s, err, want)
		}
		var again size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%d is printed as %s", s, s.String())
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1TB", "many"} {
		if s := size(0); s.Set(text) == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestPhaseLine(t *testing.T) {
	recent := timeline.Window{Seconds: 2, Work: 8000, P99: 12_000}
	if got, want := phaseLine("large fill", 1000, 250, 3*time.Second, recent), "large fill [======                  ]  25%  250 of 1000, 3s  4000/s  put p99 12.0 ms"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := phaseLine("many rest", 0, 0, time.Second, timeline.Window{}), "many rest 1s  0.00/s  put p99 0.00 µs"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLongReportText(t *testing.T) {
	met := false
	r := longReport{Name: "large", Server: "bin/etcd", CPUs: 2, Dir: "/tmp", Keys: 10, Value: 512, Puts: 500, Rate: 1000}
	r.Phases = []longPhase{
		{Phase: timeline.Phase{
			Name:    "fill",
			Whole:   timeline.Window{Seconds: 2, Work: 3000, Puts: 1000, P50: 1500, P99: 3000, Max: 9000},
			Windows: []timeline.Window{{P99: 2000}, {P99: 4000}},
		}, phaseResult: phaseResult{RSSBytes: 3 << 20, DiskBytes: 5 << 20, ServerCores: 0.5}},
		{Phase: timeline.Phase{Name: "reads", Whole: timeline.Window{Seconds: 1}}},
	}
	r.Facts = []fact{{Name: "backup", Text: "4.00 KiB"}, {Name: "ready", Text: "3.00 s", Goal: "≤ 2.00 s", Met: &met}}
	want := "```\nlarge: bin/etcd, 2 CPUs shared with the load, data in /tmp\n10 keys, values of 512 B, 500 puts a second beside the load\nthe load is limited to 1000/s\n```\n" + `
| phase |  | time | operations | per second | put p50 | put p99 | worst window's p99 | slowest put | server's CPUs | RSS | disk |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|
| 1 | fill | 2.00 s | 3000 | 1500/s | 1.50 ms | 3.00 ms | 4.00 ms | 9.00 ms | 0.50 | 3.00 MiB | 5.00 MiB |
| 2 | reads | 1.00 s |  |  |  |  |  |  | 0.00 | 0.00 KiB | 0.00 KiB |

| figure |  | value | goal |  |
|---|---|--:|--:|---|
| backup |  | 4.00 KiB |  |  |
| ready |  | 3.00 s | ≤ 2.00 s | missed |
`
	if got := r.text(true); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFirstLoaded(t *testing.T) {
	p := timeline.Phase{Whole: timeline.Window{P99: 9}, Windows: []timeline.Window{
		{Puts: 1, P99: 1},
		{Work: 5, Puts: 1, P99: 2},
		{Work: 9},
		{Work: 9, Puts: 1, P99: 4},
	}}
	if got := firstLoaded(p); got.P99 != 4 {
		t.Errorf("window %+v, want the fourth", got)
	}
	p.Windows = p.Windows[:3]
	if got := firstLoaded(p); got.P99 != 9 {
		t.Errorf("without such a window: %+v, want the whole phase", got)
	}
}

func TestLongFlags(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for commandLine, want := range map[string]string{
		"large -server /nonexistent/etcd":     "-server",
		"large -batch 0 -server " + self:      "-batch",
		"large -history much":                 "such as 500MiB",
		"many -streams 0 -server " + self:     "-streams",
		"many -o xml":                         "text, markdown or json",
		"many -nice 20":                       "want 0 to 19",
		"many now":                            `unexpected argument "now"`,
		"large -dir /dev/shm -server " + self: "in memory",
	} {
		t.Setenv("BENCH_TEST_SERVER", "1")
		err := dispatch(t.Context(), strings.Fields(commandLine), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", commandLine, err, want)
		}
	}
}
