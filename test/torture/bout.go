package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
	"cairn/test/fleet"
)

// bout is one test cluster: it is bootstrapped, loaded and exposed to faults, and at the end its
// state is compared with the responses that its clients got.
type bout struct {
	cfg    *config
	report *report
	number int
	size   int
	seed   uint64
	rng    *rand.Rand
	dir    string

	fleet *fleet.Fleet
	rec   *recorder
	probe *prober
	small *smallDisk

	clusterID uint64
	lacks     int // how often a wait was ended by a lack of processors

	clients  []*clientv3.Client
	workers  []*worker
	watchers []*watcher
	failed   []string
}

// Settings of the members of a bout. The log is short, so that members which were down need
// snapshots.
var memberFlags = []string{
	"--heartbeat-interval=50", "--election-timeout=500", "--snapshot-count=300", "--snapshot-catchup-entries=100",
	"--auto-compaction-retention=0", "--max-learners=5",
}

func (b *bout) note(format string, args ...any) {
	fmt.Fprintf(b.cfg.out, "%s   %s\n", stamp(), fmt.Sprintf(format, args...))
}

func (b *bout) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.failed = append(b.failed, text)
	b.note("VIOLATION: %s", text)
}

func stamp() string { return time.Now().Format("15:04:05") }

// run runs the bout until about the given time. It returns errors of the test program itself, and
// of a cluster that does not recover.
func (b *bout) run(ctx context.Context, until time.Time) (err error) {
	b.dir = filepath.Join(b.cfg.dir, fmt.Sprintf("bout%d", b.number))
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	flags := memberFlags
	if b.cfg.attack != "" {
		flags = append(slices.Clone(flags), "--memory-limit=1GiB", "--bcrypt-cost=4")
	}
	b.fleet = fleet.New(fleet.Config{Program: b.cfg.etcd, Dir: b.dir, Flags: flags, Proxied: true})
	defer func() { err = errors.Join(err, b.end(err)) }()
	b.fleet.OnCreate(func(m *fleet.Member) {
		if b.small != nil || b.cfg.noTmpfs {
			return
		}
		if b.small, err = mountSmallDisk(m); err != nil {
			b.note("no disk is filled up: %v", err)
			b.cfg.noTmpfs = true
		}
	})
	if err := b.found(ctx); errors.Is(err, errLack) {
		b.note("bout %d was not founded: %v", b.number, err)
		return nil
	} else if err != nil {
		return err
	}
	b.rec = newRecorder()
	if err := b.connect(); err != nil {
		return err
	}
	var working, watching sync.WaitGroup
	work, stopWork := context.WithCancel(ctx)
	watch, stopWatch := context.WithCancel(ctx)
	for _, w := range b.workers {
		working.Go(func() { w.run(work) })
	}
	working.Go(func() { b.probe.run(work) })
	for _, w := range b.watchers {
		watching.Go(func() { w.run(watch) })
	}
	err = b.attacked(ctx, func() error { return b.rounds(ctx, until) })
	stopWork()
	working.Wait()
	if err == nil {
		err = b.judge(ctx, func() { stopWatch(); watching.Wait() })
	}
	stopWatch()
	watching.Wait()
	return err
}

// found bootstraps the cluster. For attacks by requests it also enables authentication.
func (b *bout) found(ctx context.Context) error {
	founded, cancel := context.WithTimeout(ctx, b.cfg.heal)
	defer cancel()
	return b.blameLack(founded, threadTimes{}, func() error {
		if err := b.fleet.Bootstrap(founded, b.size); err != nil {
			return err
		}
		status, err := b.fleet.Status(founded, b.fleet.Members()[0])
		if err != nil {
			return err
		}
		b.clusterID = status.Header.ClusterId
		if slices.Contains(b.cfg.groups(), "requests") {
			return b.protect(founded)
		}
		return nil
	}())
}

// warmUp is how long the clients are at work before the members are measured.
const warmUp = 5 * time.Second

// attacked calls do while the cluster is attacked, if attacks are enabled, and compares the
// members' contents before and after the attacks.
func (b *bout) attacked(ctx context.Context, do func() error) error {
	if b.cfg.attack == "" {
		return do()
	}
	if !sleep(ctx, warmUp) {
		return ctx.Err()
	}
	var before []usage
	err := b.patiently(ctx, b.cfg.heal, func(ctx context.Context) (err error) {
		before, err = b.usages(ctx)
		return err
	}, nil)
	if err != nil {
		return fmt.Errorf("measure the members before the attacks: %w", err)
	}
	all := b.startAttacks(ctx)
	err = do()
	b.note("attacks: %s", all.end())
	if err != nil {
		return err
	}
	if err := b.checkLogs(); err != nil {
		return err
	}
	return b.checkLeaks(ctx, before)
}

// end stops all processes, and removes the directory unless a violation was found.
func (b *bout) end(failed error) error {
	for _, c := range b.clients {
		_ = c.Close() // it complains of the streams' contexts
	}
	err := b.fleet.Close()
	if b.small != nil {
		err = errors.Join(err, b.small.unmount())
	}
	if err == nil && failed == nil && len(b.failed) == 0 && !b.cfg.keep {
		err = os.RemoveAll(b.dir)
	}
	return err
}

// connect makes the clients: some of one member each, some of all.
func (b *bout) connect() error {
	dial := func(members ...*fleet.Member) *clientv3.Client {
		c, err := b.fleet.Connect(members...)
		if err != nil {
			panic(err) // of the configuration, which is constant
		}
		b.clients = append(b.clients, c)
		return c
	}
	members := b.fleet.Members()
	var urls []string
	for _, m := range members {
		urls = append(urls, m.ClientURL())
	}
	ids := &leaseIDs{}
	ids.Store(firstLease)
	add := func(name string, c *clientv3.Client, urls []string) {
		id := len(b.workers) + 1
		b.workers = append(b.workers, &worker{
			id: id, member: name, rng: newRand(b.seed, 100+id), rec: b.rec, lease: ids, pause: b.cfg.pause, v3: c,
			v2: &v2Client{urls: urls, fleet: b.fleet, http: &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}}},
		})
	}
	b.probe = &prober{}
	for i, m := range members {
		c := dial(m)
		b.probe.clients = append(b.probe.clients, c)
		add(m.Name, c, []string{m.ClientURL()})
		w := &watcher{id: 1000 + i, member: m.Name, client: c, rec: b.rec, rng: newRand(b.seed, 200+i)}
		if i%2 == 1 {
			w.restart = 5 * time.Second
		}
		b.watchers = append(b.watchers, w)
	}
	for range b.cfg.clients {
		add("all", dial(members...), urls)
	}
	b.watchers = append(b.watchers, &watcher{id: 1000 + len(members), member: "all", client: dial(members...), rec: b.rec, rng: newRand(b.seed, 200+len(members))})
	return nil
}

// memberChanges records in the history that a member is removed and added.
func (b *bout) memberChanges(m *fleet.Member) {
	for _, do := range []int{check.MemberRemove, check.MemberAddLearner, check.MemberPromote} {
		b.rec.add(check.Operation{
			Member: m.Name, Call: b.rec.now(), Request: check.Request{Member: &check.Member{Do: do, ID: int64(m.ID()), URL: m.PeerURL()}},
		}, unknown)
	}
}

// rounds causes one fault after the other, and waits after each until the cluster has recovered.
func (b *bout) rounds(ctx context.Context, until time.Time) error {
	order := b.cfg.order(b.rng)
	for i := 0; time.Now().Before(until) && ctx.Err() == nil; i++ {
		f := order[i%len(order)]
		err := b.round(ctx, f, until)
		if errors.Is(err, errLack) {
			return nil // what the clients have seen until now is checked
		}
		if err != nil {
			return fmt.Errorf("bout %d (seed %d), %s: %w", b.number, b.seed, f.name, err)
		}
	}
	return ctx.Err()
}

// round causes a fault, and waits until the cluster has recovered. After until it does not wait for
// a cluster that lacks processors, and returns errLack.
func (b *bout) round(ctx context.Context, f fault, until time.Time) error {
	healed, cancel := context.WithTimeout(ctx, b.cfg.heal)
	defer cancel()
	b.probe.awaitAnswer(healed)
	b.probe.take()
	began := time.Now()
	before := timesOf(b.fleet.Members())
	err := f.do(healed, b)
	skipped := errors.Is(err, errSkipped)
	if err != nil && !skipped {
		err = b.blameLack(healed, before, err)
		if !errors.Is(err, errLack) || len(b.fleet.Running()) < len(b.fleet.Members()) {
			return err
		}
		b.note("%s was not made: %v", f.name, err)
		skipped = true
	}
	err = b.patiently(ctx, b.cfg.heal, b.fleet.AwaitHealthy, func() bool { return time.Now().After(until) })
	if err != nil {
		return fmt.Errorf("the cluster does not become whole: %w", err)
	}
	if skipped {
		b.report.skipped(f.name)
		return nil
	}
	answered, cancel := context.WithTimeout(ctx, b.cfg.heal)
	defer cancel()
	b.probe.awaitAnswer(answered)
	worst, sum := b.probe.take()
	b.report.fault(f.name, worst, sum)
	fmt.Fprintf(b.cfg.out, "%s bout %d, %d members: %-17s %5.1f s, longest without service %.2f s, %d requests answered\n",
		stamp(), b.number, b.size, f.name, time.Since(began).Seconds(), worst.Seconds(), b.rec.done.Load())
	return nil
}
