package proxies

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/fleet"
	"cairn/test/harness"
	"cairn/test/process"
)

// TestFigures prints the figures of docs/performance.md: our proxies beside those of the etcd that
// CAIRN_FIGURES names, in front of the same member, in turn.
func TestFigures(t *testing.T) {
	other := os.Getenv("CAIRN_FIGURES")
	if other == "" {
		t.Skip("CAIRN_FIGURES names no etcd")
	}
	f := newFleet(t, 1)
	m := f.Members()[0]
	theirs := othersFlags(m)
	direct := &proxy{address: strings.TrimPrefix(m.ClientURL(), "http://")}
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ours, etcds := startProxy(t, kind, f.Members()), startOther(t, other, theirs[kind])
			for _, op := range operations(kind) {
				op.compare(t, kind, []*proxy{direct, ours, etcds})
			}
			for name, p := range map[string]*proxy{"ours": ours, "etcd's": etcds} {
				if kind == "httpproxy" {
					t.Logf("idle long polls, %s: %d bytes each", name, pollBytes(t, p))
				}
			}
		})
	}
}

// othersFlags are etcd's flags for the proxies in front of a member.
func othersFlags(m *fleet.Member) map[string][]string {
	return map[string][]string{
		"gateway":   {"gateway", "start", "--listen-addr", "ADDRESS", "--endpoints", strings.TrimPrefix(m.ClientURL(), "http://")},
		"grpcproxy": {"grpc-proxy", "start", "--listen-addr", "ADDRESS", "--endpoints", m.ClientURL()},
		"httpproxy": {"--proxy", "on", "--enable-v2", "--listen-client-urls", "http://ADDRESS", "--initial-cluster", "n1=" + m.PeerURL()},
	}
}

// compare measures an operation without a proxy, through ours and through etcd's, in turn.
func (op operation) compare(t *testing.T, kind string, proxies []*proxy) {
	t.Helper()
	var cpu, p50 [3]time.Duration
	for range figureRounds {
		for i, p := range proxies {
			c, l := op.run(t, p)
			cpu[i] += c / figureRounds
			p50[i] += l / figureRounds
		}
	}
	t.Logf("%-9s %-8s CPU per request: ours %v, etcd's %v (%.2fx); p50 added: ours %v, etcd's %v (direct %v)", kind, op.name,
		cpu[1], cpu[2], float64(cpu[1])/float64(max(cpu[2], 1)), p50[1]-p50[0], p50[2]-p50[0], p50[0])
}

func startOther(t *testing.T, program string, args []string) *proxy {
	t.Helper()
	p := &proxy{address: "127.0.0.1:" + harness.FreePort(t), dir: t.TempDir(), log: new(harness.Buffer)}
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ADDRESS", p.address)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "ETCD_DATA_DIR="+filepath.Join(p.dir, "data"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.log, p.log
	var err error
	p.proc, err = process.Start(cmd)
	must(t, err)
	t.Cleanup(p.stop)
	// etcd's v2 proxy looks for the members every second at first, and answers 503 without them
	harness.Await(t, "the proxy forwards", func() bool {
		resp, err := http.Get("http://" + p.address + "/version")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode != http.StatusServiceUnavailable
	})
	return p
}

// used returns the processor time of a process.
func (p *proxy) used() time.Duration {
	if p.proc == nil {
		return 0
	}
	return usedBy(p.proc.PID())
}

func usedBy(pid int) (used time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		used += time.Duration(n)
	}
	return used
}

// operation is what is measured.
type operation struct {
	name string
	do   func(t *testing.T, p *proxy) func(n int) error
}

const (
	figureClients  = 16
	figureRequests = 2000
	figureRounds   = 2
)

// run returns the proxy's processor time per request, and the median latency.
func (op operation) run(t *testing.T, p *proxy) (cpu, p50 time.Duration) {
	t.Helper()
	do := op.do(t, p)
	must(t, do(0))
	before := p.used()
	var mu sync.Mutex
	var all []time.Duration
	var clients sync.WaitGroup
	for c := range figureClients {
		clients.Go(func() {
			var own []time.Duration
			for n := range figureRequests / figureClients {
				began := time.Now()
				if err := do(c*figureRequests + n); err != nil {
					t.Error(op.name, err)
					return
				}
				own = append(own, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	clients.Wait()
	slices.Sort(all)
	if len(all) == 0 {
		t.FailNow()
	}
	return (p.used() - before) / time.Duration(len(all)), all[len(all)/2]
}

func operations(kind string) []operation {
	v3 := func(t *testing.T, p *proxy) *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.address}, Logger: zap.NewNop()})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	value := strings.Repeat("v", 256)
	list := []operation{
		{"v3 put", func(t *testing.T, p *proxy) func(int) error {
			c := v3(t, p)
			return func(n int) error {
				_, err := c.Put(context.Background(), fmt.Sprintf("k%d", n%1000), value)
				return err
			}
		}},
		{"v3 get", func(t *testing.T, p *proxy) func(int) error {
			c := v3(t, p)
			return func(n int) error { _, err := c.Get(context.Background(), fmt.Sprintf("k%d", n%1000)); return err }
		}},
	}
	if kind == "gateway" || kind == "grpcproxy" {
		return list
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: figureClients}}
	send := func(method, url, body string) error {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	}
	return []operation{
		{"v2 put", func(_ *testing.T, p *proxy) func(int) error {
			return func(n int) error {
				return send("PUT", fmt.Sprintf("http://%s/v2/keys/k%d", p.address, n%1000), "value="+value)
			}
		}},
		{"v2 get", func(_ *testing.T, p *proxy) func(int) error {
			return func(n int) error { return send("GET", fmt.Sprintf("http://%s/v2/keys/k%d", p.address, n%1000), "") }
		}},
	}
}

// pollBytes returns how much an idle long poll costs the proxy.
func pollBytes(t *testing.T, p *proxy) int64 {
	t.Helper()
	const polls = 1000
	resident := func() int64 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.proc.PID()))
		must(t, err)
		pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
		must(t, err)
		return pages * int64(os.Getpagesize())
	}
	before := resident()
	for range polls {
		c, err := net.Dial("tcp", p.address)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET /v2/keys/idle?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
		must(t, err)
	}
	// All polls wait when the memory no longer grows.
	held := resident()
	grew := time.Now()
	harness.Await(t, "the memory of the polls", func() bool {
		if now := resident(); now > held {
			held, grew = now, time.Now()
		}
		return time.Since(grew) > time.Second
	})
	return (held - before) / polls
}
