package hostile

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// full reports whether the attacks run at their full size.
func full() bool { return os.Getenv("CAIRN_HOSTILE") == "full" }

// size returns small, or large in a full run.
func size(small, large int) int {
	if full() {
		return large
	}
	return small
}

const (
	memoryLimit = 1 << 30
	storedKeys  = 200
	valueBytes  = 100_000 // so that a list of all keys has 20 MB
)

// target is the member under attack and its good client.
type target struct {
	server *harness.Server
	kv     etcdserverpb.KVClient
	rest   time.Duration // the good client's p99 without an attack
}

func newTarget(t *testing.T) *target {
	t.Helper()
	flags := []string{"--memory-limit=1GiB"}
	if v, set := os.LookupEnv("CAIRN_HOSTILE_FLAGS"); set {
		flags = strings.Fields(v)
	}
	x := &target{server: harness.Start(t, flags...)}
	conn, err := grpc.NewClient(x.server.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	x.kv = etcdserverpb.NewKVClient(conn)
	for i := range storedKeys {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		_, err := x.kv.Put(ctx, &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "/big/%04d", i), Value: make([]byte, valueBytes)})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	good := x.goodClient(t)
	good.await(time.Second, 100)
	x.rest, _ = good.stop()
	return x
}

// client puts and gets a small key, one request after another.
type client struct {
	cancel context.CancelFunc
	done   chan struct{}
	n      atomic.Int64
	took   []time.Duration // of the client's requests, written until done is closed
}

func (x *target) goodClient(t *testing.T) *client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for i := 0; ctx.Err() == nil; i++ {
			start := time.Now()
			call, end := context.WithTimeout(ctx, 10*time.Second)
			var err error
			if i%2 == 0 {
				_, err = x.kv.Put(call, &etcdserverpb.PutRequest{Key: []byte("/good"), Value: []byte("v")})
			} else {
				_, err = x.kv.Range(call, &etcdserverpb.RangeRequest{Key: []byte("/good")})
			}
			end()
			if ctx.Err() != nil {
				return
			}
			c.took = append(c.took, time.Since(start))
			c.n.Add(1)
			if err != nil {
				t.Errorf("the good client's request failed after %v: %v", time.Since(start), err)
				return
			}
		}
	}()
	return c
}

// await returns after the duration least, once the client has had n requests, or an error.
func (c *client) await(least time.Duration, n int64) {
	for start := time.Now(); time.Since(start) < least || c.n.Load() < n; {
		select {
		case <-c.done:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the client and returns its 99th percentile and the number of its requests.
func (c *client) stop() (p99 time.Duration, n int) {
	c.cancel()
	<-c.done
	if len(c.took) == 0 {
		return 0, 0
	}
	slices.Sort(c.took)
	return c.took[len(c.took)*99/100], len(c.took)
}

// resident returns the member's resident memory in bytes.
func (x *target) resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.server.PID()))
	if err != nil {
		t.Fatalf("the member has ended: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	t.Fatal("the member has ended")
	return 0
}

// measures are what an attack costs.
type measures struct {
	before, peak, after int64 // resident memory in bytes
	p99                 time.Duration
}

// attack runs do while the good client runs, and checks the member. do returns the function that
// ends the attack.
func (x *target) attack(t *testing.T, do func(t *testing.T) (end func())) (m measures) {
	t.Helper()
	before := x.resident(t)
	var peak atomic.Int64
	watching := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-watching:
				return
			case <-time.After(10 * time.Millisecond):
				peak.Store(max(peak.Load(), x.resident(t)))
			}
		}
	}()
	good := x.goodClient(t)
	end := do(t)
	good.await(time.Duration(size(100, 2_000))*time.Millisecond, 20)
	p99, n := good.stop()
	end()
	close(watching)
	<-watched
	after := x.resident(t)
	// A lower limit would measure the machine: a small run shares it with other tests.
	limit := max(3*x.rest, time.Duration(size(3000, 100))*time.Millisecond)
	t.Logf("memory before %d MB, peak %d MB, after %d MB; good client: %d requests, p99 %v, at rest %v",
		before>>20, peak.Load()>>20, after>>20, n, p99.Round(time.Microsecond), x.rest.Round(time.Microsecond))
	if peak.Load() > memoryLimit {
		t.Errorf("memory of %d MB, limit %d MB", peak.Load()>>20, memoryLimit>>20)
	}
	if p99 > limit || n == 0 {
		t.Errorf("good client: %d requests, p99 %v, want at most %v", n, p99, limit)
	}
	return measures{before, peak.Load(), after, p99}
}
