package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWorstSecond(t *testing.T) {
	ms := time.Millisecond
	cases := []struct {
		name    string
		seconds []second
		elapsed time.Duration
		index   int
		worst   second
		ok      bool
	}{
		{"fewest requests", []second{{100, ms}, {40, 9 * ms}, {90, 30 * ms}}, 3 * time.Second, 1, second{40, 9 * ms}, true},
		{"of equal ones the slowest", []second{{40, ms}, {40, 9 * ms}}, 2 * time.Second, 1, second{40, 9 * ms}, true},
		{"the partial last second does not count", []second{{100, ms}, {90, ms}, {1, ms}}, 2900 * ms, 1, second{90, ms}, true},
		{"a stall at the end is a second without requests", []second{{100, ms}}, 3 * time.Second, 1, second{}, true},
		{"less than a second has none", []second{{100, ms}}, 900 * ms, 0, second{}, false},
	}
	for _, c := range cases {
		index, worst, ok := worstSecond(c.seconds, c.elapsed)
		if index != c.index || worst != c.worst || ok != c.ok {
			t.Errorf("%s: got second %d %v %v, want %d %v %v", c.name, index, worst, ok, c.index, c.worst, c.ok)
		}
	}
}

func TestRecorderCountsErrorsApart(t *testing.T) {
	start := time.Now()
	r := newRecorder(1, start)
	r.success(0, time.Millisecond, start.Add(1500*time.Millisecond))
	for i := range errorTextsMax + 5 {
		r.failure(fmt.Errorf("port %d", i), start.Add(2*time.Second))
	}
	r.failure(errors.New("port 0"), start.Add(time.Second))
	if succeeded, failed := r.progress(); succeeded != 1 || failed != errorTextsMax+6 {
		t.Errorf("succeeded %d, failed %d, want 1 and %d", succeeded, failed, errorTextsMax+6)
	}
	counts := r.errorCounts()
	if counts[0] != (errorCount{"other errors", 5}) || counts[1] != (errorCount{"port 0", 2}) {
		t.Errorf("most frequent errors %v, want 5 × other errors, 2 × port 0", counts[:2])
	}
	if len(r.seconds) != 2 || r.seconds[1].requests != 1 || !r.last.Equal(start.Add(2*time.Second)) {
		t.Errorf("seconds %v, last %v", r.seconds, r.last.Sub(start))
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 1234 567 11 12"
	for _, name := range []string{"(etcd)", "(a ) (b)", "(x) S 9 9 9)"} {
		user, system, err := parseStat("4711 " + name + rest)
		if err != nil || user != 12340*time.Millisecond || system != 5670*time.Millisecond {
			t.Errorf("%s: user %v, system %v, error %v, want 12.34s, 5.67s", name, user, system, err)
		}
	}
	for _, bad := range []string{"", "4711 etcd S", "4711 (etcd) S 1 2", "4711 (etcd) S 1 2 3 4 5 6 7 8 9 10 x 567 11"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q): no error", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	rss, peak, err := parseStatus("Name:\tetcd\nVmHWM:\t  2048 kB\nVmRSS:\t    1000 kB\nThreads:\t9\n")
	if err != nil || rss != 1000<<10 || peak != 2048<<10 {
		t.Errorf("rss %d, peak %d, error %v", rss, peak, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmHWM:\t1 kB\nVmRSS:\tmany kB\n", "VmHWM:\t1 MB\nVmRSS:\t1 kB\n"} {
		if _, _, err := parseStatus(bad); err == nil {
			t.Errorf("parseStatus(%q): no error", bad)
		}
	}
}

// Test the parsers with the running kernel as well as with the manual's format.
func TestSampleProcessOfItself(t *testing.T) {
	var u usageSample
	// The process has run for a moment: on a busy machine it takes longer.
	for begin := time.Now(); u.cpu() < 20*time.Millisecond && time.Since(begin) < time.Minute; {
		var err error
		if u, err = sampleProcess(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if u.cpu() < 20*time.Millisecond || u.cpu() > time.Hour || u.rssBytes < 1<<20 || u.rssPeak < u.rssBytes {
		t.Errorf("CPU %v, RSS %d, peak %d are not this process's", u.cpu(), u.rssBytes, u.rssPeak)
	}
	if _, err := sampleProcess(1 << 30); err == nil || !strings.Contains(err.Error(), "process 1073741824") {
		t.Errorf("a process that is not there: error %v, want its id named", err)
	}
}

func TestReportText(t *testing.T) {
	start := time.Unix(0, 0)
	rec := newRecorder(2, start)
	for i := range 2000 {
		rec.success(0, time.Millisecond, start.Add(time.Duration(i)*time.Millisecond))
	}
	rec.success(1, 250*time.Millisecond, start.Add(2*time.Second))
	rec.failure(errors.New("etcdserver: too many requests"), start.Add(2*time.Second))
	before := usageSample{present: true, user: time.Second, system: time.Second}
	after := usageSample{present: true, user: 1100 * time.Millisecond, system: 1100 * time.Millisecond, rssBytes: 100 << 20, rssPeak: 3 << 29, written: 1024, client: 20020 * time.Microsecond}
	s := defaultSettings()
	s.pid, s.connections, s.clients = 7, 2, 8
	got := newReport(mixedKind, s, []string{"get", "put"}, rec, before, after).text()
	want := `mixed: 2 connections, 8 clients, 100000 keys, 32 B keys, 256 B values
  requests      2001 in 2.00 s, 1 errors
  throughput    1000.5 requests/s
  latency       p50 1.01 ms  p90 1.01 ms  p99 1.01 ms  p99.9 1.01 ms  max 250 ms
    get         p50 1.00 ms  p90 1.00 ms  p99 1.00 ms  p99.9 1.00 ms  max 1.00 ms  (2000 requests)
    put         p50 250 ms  p90 250 ms  p99 250 ms  p99.9 250 ms  max 250 ms  (1 requests)
  worst second  second 1: 1000 requests, the slowest 1.00 ms
  server        99.9 µs CPU per request (50.0 µs user, 50.0 µs system), 0.10 cores
                0.50 KiB written to disk per second
                100 MiB memory (RSS), 1.50 GiB at its peak, process 7
  client        10.0 µs CPU per request
  error         1 × etcdserver: too many requests
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBarLine(t *testing.T) {
	got := barLine("put measuring", phase{duration: 10 * time.Second}, 2500*time.Millisecond, 5000, 3)
	if want := "put measuring [======                  ]  25%  2.5s of 10s  2000/s  3 errors"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = barLine("fill measuring", phase{total: 100}, time.Second, 100, 0)
	if want := "fill measuring [========================] 100%  100 of 100, 1s  100/s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestKeyspace(t *testing.T) {
	s := defaultSettings()
	s.prefix, s.keyBytes, s.keys = "/k/", 7, 10_000
	k, err := newKeyspace(s)
	if err != nil {
		t.Fatal(err)
	}
	if first, last := k.appendKey(nil, 0), k.appendKey(nil, 9999); string(first) != "/k/0000" || string(last) != "/k/9999" {
		t.Errorf("keys from %s to %s, want /k/0000 to /k/9999", first, last)
	}
	if end := k.end(); string(end) != "/k0" {
		t.Errorf("end %q, want /k0", end)
	}
	rng := k.random(0)
	first, second := k.value(rng), k.value(rng)
	if len(first) != 256 || bytes.Equal(first, second) {
		t.Errorf("values of %d bytes, equal: %v", len(first), bytes.Equal(first, second))
	}
	if again := k.value(k.random(0)); !bytes.Equal(first, again) {
		t.Error("the same seed and client gave another value")
	}
	s.keys++
	if _, err := newKeyspace(s); err == nil || !strings.Contains(err.Error(), "at least 8 bytes") {
		t.Errorf("10,001 keys in 4 digits: error %v, want the size needed", err)
	}
}

// The commands in the help must be accepted.
func TestExamplesParse(t *testing.T) {
	for _, kind := range workloadKinds {
		args := strings.Fields(strings.ReplaceAll(kind.example, "$(pidof etcd)", "1"))
		if args[0] != "bench" || args[1] != kind.name {
			t.Errorf("%s: example is %q", kind.name, kind.example)
		}
		if _, err := parseSettings(kind, args[2:], io.Discard); err != nil {
			t.Errorf("%s: %v", kind.example, err)
		}
	}
}

func TestParseSettingsRejects(t *testing.T) {
	cases := []struct{ args, want string }{
		{"-clients 0", "-clients 0: want at least 1"},
		{"-connections 2", "-connections 2 with -clients 1"},
		{"-order up", `-order "up": want random or sequential`},
		{"-endpoints ftp://h:1", "want http://HOST:PORT"},
		{"-endpoints http://h", "want http://HOST:PORT"},
		{"-o xml", `-o "xml": want text or json`},
		{"-rate -1", "must not be negative"},
		{"-bogus", "-bogus"},
		{"more", `unexpected argument "more"`},
	}
	for _, c := range cases {
		if _, err := parseSettings(putKind, strings.Fields(c.args), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", c.args, err, c.want)
		}
	}
	s, err := parseSettings(putKind, strings.Fields("--endpoints 127.0.0.1:1,https://h:2 --total 5"), io.Discard)
	if err != nil || len(s.endpoints) != 2 || s.endpoints[1] != (endpoint{"https", "h:2"}) || s.duration != 0 {
		t.Errorf("settings %+v, error %v", s, err)
	}
}

func TestFillBatchFitsARequest(t *testing.T) {
	s := defaultSettings()
	s.keys = 1_000_000
	if got, total := fillBatch(s), fillTotal(s); got != 128 || total != 7813 {
		t.Errorf("256 B values: %d puts per txn, %d txns, want 128 and 7813", got, total)
	}
	s.valueBytes = 100 << 10
	if got := fillBatch(s); got != 10 {
		t.Errorf("100 KiB values: %d puts per txn, want 10, below 1 MiB", got)
	}
	s.valueBytes = 2 << 20
	if got := fillBatch(s); got != 1 {
		t.Errorf("2 MiB values: %d puts per txn, want 1", got)
	}
}

func TestMedian(t *testing.T) {
	values := []float64{9, 1, 5}
	if got := median(values); got != 5 || values[0] != 9 {
		t.Errorf("median %v of %v, want 5 and the values left in order", got, values)
	}
	if got := median([]float64{4, 1, 2, 9}); got != 3 {
		t.Errorf("median of four %v, want 3", got)
	}
}

func TestComparisonTable(t *testing.T) {
	o := &outcome{}
	sc := scenario{name: "put-1000", metrics: []metric{throughput, cpu}, goals: map[string]goal{
		throughput.name: {atLeast: 1.5}, cpu.name: {atMost: 0.5},
	}}
	r := o.add(sc)
	for _, v := range []float64{900, 1000, 1100} {
		r.Theirs.add(sample{throughput.name: v, cpu.name: 50}, nil)
		r.Ours.add(sample{throughput.name: 2 * v, cpu.name: 30}, nil)
	}
	failed := o.add(scenario{name: "get-1", metrics: []metric{p50}})
	failed.Theirs.add(sample{p50.name: 1500}, nil)
	failed.Ours.add(nil, errors.New("connection refused"))
	o.add(scenario{name: "txn-1000", metrics: []metric{p50}})
	restart := o.add(scenario{name: "restart-1m", metrics: []metric{afterKill}, goals: map[string]goal{afterKill.name: {oursBelow: 2}}})
	restart.Theirs.add(sample{afterKill.name: 4}, nil)
	restart.Ours.add(sample{afterKill.name: 2}, nil)
	if !o.failed() {
		t.Error("a failed run does not make the comparison fail")
	}
	want := `scenario    figure                theirs    ±     ours    ±  ours/theirs  goal
put-1000    throughput            1000/s  10%   2000/s  10%         2.00  ≥ 1.50 met
            CPU per request      50.0 µs   0%  30.0 µs   0%         0.60  ≤ 0.50 missed
get-1       p50                  1.50 ms        failed
txn-1000    p50                        –             –
restart-1m  ready after SIGKILL   4.00 s        2.00 s              0.50  ours < 2.00 s missed
`
	if got := alignTable(o.table()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var out strings.Builder
	if err := o.write(&out, "markdown"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| put-1000 | throughput | 1000/s | 10% | 2000/s | 10% | 2.00 | ≥ 1.50 met |\n", "get-1, ours: failed: connection refused\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("markdown lacks %q:\n%s", want, out.String())
		}
	}
}

func TestParseComparison(t *testing.T) {
	c, err := parseComparison(strings.Fields("--run ^put- -runs 5 -ours a -theirs-args="), io.Discard)
	if err != nil || len(c.scenarios) != 2 || c.runs != 5 || c.ours.path != "a" || len(c.theirs.args) != 0 {
		t.Errorf("comparison %+v, error %v", c, err)
	}
	if _, err := parseComparison([]string{"-run", "nothing"}, io.Discard); err == nil || !strings.Contains(err.Error(), "restart-1m") {
		t.Errorf("-run nothing: error %v, want the scenarios listed", err)
	}
	c, err = parseComparison(strings.Fields("-tls -run ^(put-1|handshakes)$"), io.Discard)
	if err != nil || len(c.scenarios) != 2 || c.scenarios[0].goals[p50.name].atMost != 0.85 || c.scenarios[1].name != handshakes.name {
		t.Errorf("-tls: comparison %+v, error %v", c, err)
	}
	if _, err := parseComparison(strings.Fields("-tls -cluster"), io.Discard); err == nil {
		t.Error("-tls was accepted for clusters")
	}
	if err := requireDisk("/dev/shm"); err == nil {
		t.Error("a directory in memory was accepted")
	}
}
