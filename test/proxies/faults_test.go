package proxies

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// TestFaults has clients of both APIs write, read, watch and poll through each proxy, and at the
// members themselves, while the members are killed one after the other, one is added and the leader
// is removed: no client sees more than one failed request after a fault and before the next one.
// Package check judges the history of all requests, watches and polls: linearizability, and that no
// event is lost or repeated.
func TestFaults(t *testing.T) {
	// with the check, changes wait until members have been connected for 5 s
	f := newFleet(t, 3, "--strict-reconfig-check=false")
	rec := &recorder{began: time.Now()}
	var loads []*load
	for kind := range kinds {
		loads = append(loads, newLoad(t, rec, startProxy(t, kind, f.Members())))
	}
	loads = append(loads, newLoad(t, rec, direct(f.Members())))
	fault := func(name string, do func()) {
		t.Helper()
		before := make([]map[string]int, len(loads))
		for i, l := range loads {
			before[i] = l.beginFault(name)
		}
		do()
		for i, l := range loads {
			l.awaitProgress(before[i])
		}
	}
	for _, m := range f.Members() {
		fault("kill "+m.Name, func() { must(t, m.Kill()) })
		must(t, m.Start())
		must(t, m.AwaitHealthy(t.Context()))
	}
	fault("add a member", func() {
		m, err := f.Add(t.Context(), false)
		must(t, err)
		must(t, m.AwaitHealthy(t.Context()))
	})
	leader, err := f.Leader(t.Context())
	must(t, err)
	fault("remove the leader", func() {
		_, err := f.Remove(t.Context(), leader)
		must(t, err)
	})
	for _, l := range loads {
		l.stop()
	}
	c := loads[0].p.client(t)
	last, err := c.Get(t.Context(), "ready")
	must(t, err)
	for _, l := range loads {
		l.end(last.Header.Revision)
	}
	res := check.Check(&rec.h, check.Options{})
	for _, v := range res.Violations {
		t.Error(v)
	}
	if got := int64(len(res.States)); got != last.Header.Revision && len(res.Violations) == 0 {
		t.Errorf("the history is explained up to revision %d, and the store is at %d", got, last.Header.Revision)
	}
	t.Logf("%d requests, %d watches, %d revisions checked", len(rec.h.Operations), len(rec.h.Watches), last.Header.Revision)
}

// load is what clients do through a proxy.
type load struct {
	t                 *testing.T
	p                 *proxy
	rec               *recorder
	cancel, endWatch  context.CancelFunc
	clients, watching sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	done      map[string]int
	faults    []string                   // the names of the faults that have begun
	failed    map[string]map[int][]error // by client, and by the number of the fault
	delivered int64                      // the last revision that the watch has delivered
	watchErr  error
	polls     *polls // owned by its client; set before the clients start; nil without the v2 API
}

func newLoad(t *testing.T, rec *recorder, p *proxy) *load {
	ctx, cancel := context.WithCancel(t.Context())
	watchCtx, endWatch := context.WithCancel(t.Context())
	l := &load{
		t: t, p: p, rec: rec, cancel: cancel, endWatch: endWatch,
		done: map[string]int{}, faults: []string{"the start"}, failed: map[string]map[int][]error{},
	}
	t.Cleanup(func() { cancel(); endWatch(); l.clients.Wait(); l.watching.Wait() })
	c := p.client(t)
	events := c.Watch(watchCtx, "", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithCreatedNotify())
	watcher, putter, getter := rec.client(), rec.client(), rec.client()
	l.watching.Go(func() { l.follow(watcher, events) })
	l.run(ctx, "v3 put", func(ctx context.Context, n int) error {
		return l.put(ctx, putter, c, "/v3", fmt.Sprint(p.kind, n))
	})
	l.run(ctx, "v3 get", func(ctx context.Context, _ int) error { return l.get(ctx, getter, c, "/v3") })
	if p.kind == "grpcproxy" || p.kind == noProxy {
		// a proxy without the v2 API, or addresses between which HTTP clients do not choose
		return l
	}
	v2Putter, poller := rec.client(), rec.client()
	via := l.httpClient()
	l.run(ctx, "v2 put", func(ctx context.Context, n int) error {
		return l.v2Put(ctx, v2Putter, via, "/"+p.kind, fmt.Sprint(n))
	})
	l.polls = l.newPolls(poller, l.httpClient(), "/"+p.kind)
	l.run(ctx, "v2 poll", func(ctx context.Context, _ int) error { return l.polls.once(ctx) })
	return l
}

// httpClient returns a client with connections of its own: with a shared pool, one fault breaks the
// connections of several clients.
func (l *load) httpClient() *http.Client {
	transport := &http.Transport{}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// requestsBetween is how many requests of each client succeed after a fault before the next one.
const requestsBetween = 5

// pace is the time between two requests of a client.
const pace = 5 * time.Millisecond

// run makes requests one after the other until the load ends.
func (l *load) run(ctx context.Context, name string, request func(ctx context.Context, n int) error) {
	l.mu.Lock()
	l.done[name], l.failed[name] = 0, map[int][]error{}
	l.mu.Unlock()
	l.clients.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
			began := time.Now()
			err := request(bounded, n)
			cancel()
			if ctx.Err() != nil {
				return
			}
			l.mu.Lock()
			if err != nil {
				at := len(l.faults) - 1
				l.failed[name][at] = append(l.failed[name][at], fmt.Errorf("%s to %s: request %d: %w",
					began.Format("05.000"), time.Now().Format("05.000"), n, err))
			} else {
				l.done[name]++
			}
			l.mu.Unlock()
			time.Sleep(pace)
		}
	})
}

// beginFault records that a fault begins, and returns how many requests of each client have
// succeeded before.
func (l *load) beginFault(name string) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, name+" at "+time.Now().Format("05.000"))
	return maps.Clone(l.done)
}

// awaitProgress waits until each client has succeeded several times since.
func (l *load) awaitProgress(before map[string]int) {
	l.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		late := ""
		l.mu.Lock()
		for name := range before {
			if l.done[name] < before[name]+requestsBetween {
				late = name
			}
		}
		l.mu.Unlock()
		switch {
		case late == "":
			return
		case time.Now().After(deadline):
			l.t.Fatalf("%s: %s makes no progress: failures %v", l.p.kind, late, l.failed)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// stop ends the requests, but not the watch.
func (l *load) stop() {
	l.cancel()
	l.clients.Wait()
	if l.polls != nil {
		l.rec.addWatch(l.polls.watch)
	}
}

// end ends the watch when it has delivered everything up to a revision, and checks the failures.
func (l *load) end(revision int64) {
	l.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for ; ; time.Sleep(2 * time.Millisecond) {
		l.mu.Lock()
		delivered := l.delivered
		l.mu.Unlock()
		if delivered >= revision {
			break
		}
		if time.Now().After(deadline) {
			l.t.Errorf("%s: the watch has delivered revisions up to %d, and the store is at %d", l.p.kind, delivered, revision)
			break
		}
	}
	l.endWatch()
	l.watching.Wait()
	for name, byFault := range l.failed {
		for at, errs := range byFault {
			if len(errs) > 1 || at == 0 {
				l.t.Errorf("%s: %s: %d failures after %s: %v", l.p.kind, name, len(errs), l.faults[at], errs)
			}
		}
	}
	if l.watchErr != nil {
		l.t.Errorf("%s: the watch ended: %v", l.p.kind, l.watchErr)
	}
	l.t.Logf("%s: requests %v, failures %v", l.p.kind, l.done, l.failed)
}
