// Package migrate moves a running etcd of Debian into cairn while clients write, and compares what
// both clusters have at every revision.
//
// It owns the load, the watchers that change over with the writers, and the comparison. The short
// form kills the migrating program a few times, CAIRN_MIGRATE=full (make migrate) 20 times under a
// larger load.
//
// Concurrency: writers and watchers are goroutines of the tests, which end before the comparison.
package migrate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const debianEtcd = "/usr/bin/etcd"

// scale is how much one run does.
type scale struct {
	keys, kills, writers int
}

func scaleOf() scale {
	if os.Getenv("CAIRN_MIGRATE") == "full" {
		return scale{keys: 60_000, kills: 20, writers: 8}
	}
	return scale{keys: 3000, kills: 4, writers: 4}
}

// world is an old cluster, a new one, and the program that migrates.
type world struct {
	t         *testing.T
	old, next *harness.Server
	from, to  *clientv3.Client
}

func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	if other := harness.Reference(t); other != "" {
		t.Skip("only cairn can be migrated to, not " + other)
	}
	harness.Needs(t, debianEtcd, "etcd-server")
	w := &world{t: t, old: harness.StartOther(t, debianEtcd, flags...), next: harness.Start(t)}
	w.from, w.to = client(t, w.old, "", ""), client(t, w.next, "", "")
	return w
}

func client(t *testing.T, s *harness.Server, user, password string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Username: user, Password: password, Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) command(args ...string) harness.Command {
	return harness.Command{Args: append([]string{harness.Etcdctl(w.t)}, args...), Env: []string{"ETCDCTL_API=3", "TMPDIR=" + w.next.Dir()}}
}

// etcdctl runs our etcdctl against the new cluster, and fails the test unless it succeeds.
func (w *world) etcdctl(args ...string) string {
	w.t.Helper()
	r := w.next.Run(w.t, w.command(args...))
	if r.Exit != 0 {
		w.t.Fatalf("etcdctl %s: exit status %d\n%s%s", strings.Join(args, " "), r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout + r.Stderr
}

// begin starts the migrating program.
func (w *world) begin(more ...string) *harness.Background {
	w.t.Helper()
	return w.next.Begin(w.t, w.command(append([]string{"migrate", "--from", w.old.URL()}, more...)...), nil)
}

// killOften lets the program run, and kills it at random moments.
func (w *world) killOften(times int, rng *rand.Rand) {
	w.t.Helper()
	for i := range times {
		run := w.begin()
		select {
		case <-time.After(time.Duration(20+rng.IntN(600)) * time.Millisecond):
		case <-run.Exited():
			w.t.Fatalf("run %d ended by itself:\n%s", i, run.Output())
		}
		run.Signal(syscall.SIGKILL)
		<-run.Exited()
	}
}

// awaitFollowing returns when the new cluster is at most a few revisions behind.
func (w *world) awaitFollowing() {
	w.t.Helper()
	behind := regexp.MustCompile(`phase: following\n.*\nrevision: \d+ of \d+, (\d+) behind`)
	harness.Await(w.t, "the new cluster follows", func() bool {
		m := behind.FindStringSubmatch(w.etcdctl("migrate", "status", "--from", w.old.URL()))
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		return err == nil && n < 200
	})
}

// TestMigrationUnderLoad is the whole of it: a load with leases and watchers, kills of the program,
// a compaction of the old cluster, and the change-over.
func TestMigrationUnderLoad(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CAIRN_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CAIRN_TEST_SEED=%d", seed)
	rng, size := rand.New(rand.NewPCG(seed, 1)), scaleOf()
	w := newWorld(t)
	began := time.Now()
	step := func(what string) { t.Logf("%6.2f s: %s", time.Since(began).Seconds(), what) }
	w.fill(size.keys, rng)
	step("the old cluster has keys")
	l := w.startLoad(size.writers, seed)
	watched := w.watchFrom(l.revision())
	w.killOften(size.kills, rng)
	step("killed often")
	run := w.begin()
	w.awaitFollowing()
	step("following")
	w.refusesWrites()
	w.compactOld()
	w.readsBoth()
	step("read both")
	out := w.etcdctl("migrate", "finish", "--from", w.old.URL())
	step(out)
	l.stop()
	<-run.Exited()
	if !strings.Contains(run.Output(), "The migration is finished") {
		t.Errorf("the program that followed ended with:\n%s", run.Output())
	}
	if l.moved == 0 {
		t.Error("no writer has written to the new cluster")
	}
	t.Logf("longest time in which a writer could not write: %v; %d writes before, %d after", l.gap, l.before, l.moved)
	if l.gap > 5*time.Second {
		t.Errorf("a writer could not write for %v", l.gap)
	}
	w.comparesHistory()
	step("compared history")
	l.check(t, w.to)
	watched.check()
	step("compared watchers")
	w.leasesGoOn()
	step("leases have ended")
	if st := w.etcdctl("migrate", "status"); !strings.HasPrefix(st, "phase: finished\n") {
		t.Errorf("status after the end: %s", st)
	}
	if _, err := w.from.Put(t.Context(), "late", "x"); err == nil {
		t.Error("the old cluster takes writes after the end")
	}
	w.survivesRestart()
}

// fill writes history before the migration: overwritten and deleted keys, a compaction, leases.
func (w *world) fill(keys int, rng *rand.Rand) {
	w.t.Helper()
	ctx := w.t.Context()
	long, err := w.from.Grant(ctx, 3600)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < keys; {
		ops := make([]clientv3.Op, 0, 100)
		for range 100 {
			key := fmt.Sprintf("/seed/%06d", i)
			if i%50 == 7 {
				ops = append(ops, clientv3.OpPut(key, strings.Repeat("v", rng.IntN(300)), clientv3.WithLease(long.ID)))
			} else {
				ops = append(ops, clientv3.OpPut(key, strings.Repeat("v", rng.IntN(300))))
			}
			i++
		}
		if _, err := w.from.Txn(ctx).Then(ops...).Commit(); err != nil {
			w.t.Fatal(err)
		}
	}
	var last *clientv3.PutResponse
	for range keys / 20 {
		if last, err = w.from.Put(ctx, fmt.Sprintf("/seed/%06d", rng.IntN(keys)), "again"); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.from.Compact(ctx, last.Header.Revision-int64(keys/40)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.from.Delete(ctx, "/seed/0000", clientv3.WithPrefix()); err != nil {
		w.t.Fatal(err)
	}
}

// refusesWrites: until the end the new cluster refuses writes of both dialects, and names the
// reason.
func (w *world) refusesWrites() {
	w.t.Helper()
	ctx, want := w.t.Context(), "is taking over another one and refuses writes: wait for `etcdctl migrate finish`"
	_, put := w.to.Put(ctx, "k", "v")
	_, grant := w.to.Grant(ctx, 60)
	_, txn := w.to.Txn(ctx).Then(clientv3.OpPut("k", "v")).Commit()
	_, del := w.to.Delete(ctx, "/seed/000500")
	_, user := w.to.UserAdd(ctx, "u", "p")
	for what, err := range map[string]error{"put": put, "grant": grant, "txn": txn, "delete": del, "user add": user} {
		if err == nil || !strings.Contains(err.Error(), want) {
			w.t.Errorf("%s in the new cluster: %v, want %q", what, err, want)
		}
	}
	if status, body, _ := w.next.HTTP("PUT", "/v2/keys/k", "value=v"); status != 500 || !strings.Contains(body, "taking over another one") {
		w.t.Errorf("v2 set in the new cluster: %d %s", status, body)
	}
	if status, body, _ := w.next.HTTP("GET", "/v2/keys/seed/000500", ""); status != 200 {
		w.t.Errorf("v2 get in the new cluster: %d %s", status, body)
	}
}

// compactOld compacts the old cluster's history while the new one follows.
func (w *world) compactOld() {
	w.t.Helper()
	r, err := w.from.Get(w.t.Context(), "x")
	if err == nil {
		_, err = w.from.Compact(w.t.Context(), r.Header.Revision)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// readsBoth compares all keys as of a revision while both clusters serve.
func (w *world) readsBoth() {
	w.t.Helper()
	r, err := w.from.Get(w.t.Context(), "x")
	if err != nil {
		w.t.Fatal(err)
	}
	at := r.Header.Revision
	harness.Await(w.t, fmt.Sprintf("the new cluster is at revision %d", at), func() bool {
		now, err := w.to.Get(w.t.Context(), "x")
		return err == nil && now.Header.Revision >= at
	})
	sameKeys(w.t, w.from, w.to, at)
}

// survivesRestart: the new cluster is as it was after a crash.
func (w *world) survivesRestart() {
	w.t.Helper()
	before := allKeys(w.t, w.to, 0)
	w.next.Kill()
	w.next.Restart()
	after := allKeys(w.t, client(w.t, w.next, "", ""), 0)
	if before != after {
		w.t.Error("other keys after a restart of the new cluster")
	}
	w.next.Stop()
	if r := w.next.Run(w.t, harness.Command{Args: []string{harness.Etcdutl(w.t), "check", w.next.DataDir()}}); r.Exit != 0 {
		w.t.Errorf("etcdutl check: %s%s", r.Stdout, r.Stderr)
	}
}
