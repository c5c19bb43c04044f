package hostile

import (
	"context"
	"fmt"
	"os"
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

func TestMain(m *testing.M) {
	if address := os.Getenv(goodVariable); address != "" {
		if err := runGoodClient(address); err != nil {
			fmt.Fprintln(os.Stderr, "the good client:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	harness.Main(m)
}

// full reports whether the attacks run at their full size.
func full() bool { return os.Getenv("CAIRN_HOSTILE") == "full" }

// matrix reports whether the slow readers run at their full size, but each for a short time.
func matrix() bool { return os.Getenv("CAIRN_HOSTILE") == "matrix" }

// holdTime is how long an attack lasts once it has begun.
func holdTime() time.Duration {
	if matrix() {
		return time.Second
	}
	return time.Duration(size(100, 2_000)) * time.Millisecond
}

// size returns small, or large in a full run.
func size(small, large int) int {
	if full() {
		return large
	}
	return small
}

// foreign reports whether the member is another etcd, which has no limit of memory. Then attacks
// report what they measure, and do not fail.
func foreign() bool {
	_, set := os.LookupEnv("CAIRN_HOSTILE_FLAGS")
	return set
}

const (
	memoryLimit = 1 << 30
	storedKeys  = 200
	valueBytes  = 100_000 // so that a list of all keys has 20 MB
)

// target is the member under attack and its good client.
type target struct {
	server *harness.Server
	good   *goodClient
	rest   latencies // of the good client without an attack
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
	defer func() { _ = conn.Close() }()
	kv := etcdserverpb.NewKVClient(conn)
	for i := range storedKeys {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		_, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "/big/%04d", i), Value: make([]byte, valueBytes)})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	x.good = startGoodClient(t, x.server.Address())
	x.measureRest(t, time.Second)
	return x
}

// measureRest measures the good client without an attack.
func (x *target) measureRest(t *testing.T, least time.Duration) {
	t.Helper()
	x.good.start(t)
	time.Sleep(least) // that is how long the measurement lasts
	l := x.good.stop(t, 20)
	if l.Err != "" {
		t.Fatalf("the good client's request failed without an attack %s", l.Err)
	}
	x.rest.Took = append(x.rest.Took, l.Took...)
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
	before, peak, after int64         // resident memory in bytes
	p99, rest           time.Duration // of the good client, meanwhile and at rest
	member, attacker    float64       // processors that the member and this process used
}

// attack runs do while the good client runs, and checks the member. do returns the function that
// ends the attack.
func (x *target) attack(t *testing.T, do func(t *testing.T) (end func())) (m measures) {
	t.Helper()
	before := x.resident(t)
	var peak atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
				peak.Store(max(peak.Load(), x.resident(t)))
			}
		}
	}()
	defer func() { // when the test has failed
		cancel()
		<-watched
	}()
	start, member, attacker := time.Now(), x.memberCPU(t), ownCPU(t)
	x.good.start(t)
	end := do(t)
	time.Sleep(holdTime()) // that is how long the attack lasts
	l := x.good.stop(t, 20)
	took := time.Since(start)
	member, attacker = x.memberCPU(t)-member, ownCPU(t)-attacker
	end()
	cancel()
	<-watched
	after := x.resident(t)
	m = measures{
		before: before, peak: peak.Load(), after: after, p99: l.p99(), rest: x.rest.p99(),
		member: member.Seconds() / took.Seconds(), attacker: attacker.Seconds() / took.Seconds(),
	}
	t.Logf("memory before %d MB, peak %d MB, after %d MB; good client: %d requests, p99 %v, at rest %v; "+
		"processors: member %.2f, attacker %.2f, for %v",
		before>>20, m.peak>>20, after>>20, len(l.Took), m.p99.Round(time.Microsecond), m.rest.Round(time.Microsecond),
		m.member, m.attacker, took.Round(time.Millisecond))
	report := t.Errorf
	if foreign() {
		report = t.Logf
	}
	if l.Err != "" {
		report("the good client's request failed %s", l.Err)
	}
	if m.peak > memoryLimit {
		report("memory of %d MB, limit %d MB", m.peak>>20, memoryLimit>>20)
	}
	// A lower limit would measure the machine: a small run shares it with other tests.
	if limit := max(3*m.rest, time.Duration(size(3000, 100))*time.Millisecond); m.p99 > limit && !matrix() {
		report("the good client's p99 is %v, want at most %v", m.p99, limit)
	}
	return m
}
