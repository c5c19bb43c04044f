package proxies

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
)

// TestWatchFigures prints how many events per second watchers of one key get through our gRPC proxy
// and through the one of the etcd that CAIRN_FIGURES names, in turn, and what that costs the proxy
// and the member.
func TestWatchFigures(t *testing.T) {
	other := os.Getenv("CAIRN_FIGURES")
	if other == "" {
		t.Skip("CAIRN_FIGURES names no etcd")
	}
	const rounds = 2
	f := newFleet(t, 1)
	names := []string{"ours", "etcd's"}
	proxies := []*proxy{startProxy(t, "grpcproxy", f.Members()), startOther(t, other, othersFlags(f.Members()[0])["grpcproxy"])}
	for _, load := range []watchLoad{{1, 1, 1, 300}, {10, 10, 1, 300}, {100, 100, 1, 50}, {100, 100, 16, 1000}} {
		var rate [2]float64
		for range rounds {
			for i, p := range proxies {
				got, err := load.run(t, f, p)
				if err != nil { // etcd's ends streams now and then
					t.Logf("%v, %s: %v", load, names[i], err)
					continue
				}
				t.Logf("%v, %s: %v", load, names[i], got)
				rate[i] = max(rate[i], got.rate)
			}
		}
		t.Logf("%v: at best ours %.0f events/s, etcd's %.0f (%.2fx)", load, rate[0], rate[1], rate[0]/rate[1])
	}
}

// watchLoad is streams with watchers of one key, and the puts that they get.
type watchLoad struct{ streams, each, writers, puts int }

func (l watchLoad) String() string {
	return fmt.Sprintf("%d streams of %d watchers, %d writers", l.streams, l.each, l.writers)
}

// watchFigures are the results.
type watchFigures struct {
	rate      float64       // events per second
	delay     time.Duration // mean time from the beginning of a put to its event
	responses float64       // per event
	proxy     time.Duration // processor time of the proxy per event
	client    time.Duration // the same of the watchers' process
	member    time.Duration // processor time of the member per put, without that of its timers
}

func (w watchFigures) String() string {
	return fmt.Sprintf("%.0f events/s after %v, %.2f responses per event, CPU of the proxy per event %v, of the clients %v, of the member per put %v",
		w.rate, w.delay.Round(100*time.Microsecond), w.responses, w.proxy, w.client, w.member)
}

// delays adds up how long events took.
type delays struct {
	sent           []atomic.Int64 // the times of the puts
	sum, responses atomic.Int64
}

func (d *delays) add(events []*mvccpb.Event) {
	d.responses.Add(1)
	now := time.Now().UnixNano()
	for _, e := range events {
		if i, err := strconv.Atoi(string(e.Kv.Value)); err == nil && i < len(d.sent) {
			d.sum.Add(now - d.sent[i].Load())
		}
	}
}

func (l watchLoad) run(t *testing.T, f *fleet.Fleet, p *proxy) (got watchFigures, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var done, created sync.WaitGroup
	faults := make(chan error, l.streams)
	d := delays{sent: make([]atomic.Int64, l.puts)}
	for range l.streams {
		c := p.client(t)
		created.Add(1)
		stream, err := watchStream(ctx, c)
		must(t, err)
		done.Go(func() {
			defer c.Close() // before the next load
			made := sync.OnceFunc(created.Done)
			defer made()
			faults <- follow(stream, l.each, l.puts, made, d.add)
		})
	}
	created.Wait()
	direct, pid := member(t, f), memberPID(t, f)
	const rest = time.Second
	idle := usedBy(pid)
	time.Sleep(rest) // the time over which the idle member is measured
	idle = usedBy(pid) - idle
	member, proxy, client, began := usedBy(pid), p.used(), usedBy(os.Getpid()), time.Now()
	l.write(ctx, t, direct, &d)
	if t.Failed() {
		cancel() // the watches would wait for the puts that failed
	}
	done.Wait()
	took := time.Since(began)
	for range l.streams {
		err = errors.Join(err, <-faults)
	}
	if err != nil {
		return got, err
	}
	events := l.streams * l.each * l.puts
	timers := time.Duration(float64(idle) * took.Seconds() / rest.Seconds())
	return watchFigures{
		rate: float64(events) / took.Seconds(), delay: time.Duration(d.sum.Load() / int64(events)),
		responses: float64(d.responses.Load()) / float64(events), proxy: (p.used() - proxy) / time.Duration(events),
		client: (usedBy(os.Getpid()) - client) / time.Duration(events),
		member: (usedBy(pid) - member - timers) / time.Duration(l.puts),
	}, nil
}

// write makes the puts.
func (l watchLoad) write(ctx context.Context, t *testing.T, c *clientv3.Client, d *delays) {
	t.Helper()
	var writers sync.WaitGroup
	var next atomic.Int64
	for range l.writers {
		writers.Go(func() {
			for i := next.Add(1) - 1; i < int64(l.puts); i = next.Add(1) - 1 {
				d.sent[i].Store(time.Now().UnixNano())
				if _, err := c.Put(ctx, "shared", fmt.Sprint(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
}

// memberPID returns the process of the only member.
func memberPID(t *testing.T, f *fleet.Fleet) int {
	t.Helper()
	out, err := exec.Command("pgrep", "-f", f.Members()[0].DataDir()).Output()
	must(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(out))[0])
	must(t, err)
	return pid
}
