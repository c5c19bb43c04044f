package proxies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestFaults has clients of both APIs write, watch and poll through each proxy while the members
// are killed one after the other, one is added and one removed: each client sees at most as many
// failed requests as there were faults, and the watches deliver each revision once, in order.
func TestFaults(t *testing.T) {
	// with the check, changes wait until members have been connected for 5 s
	f := newFleet(t, 3, "--strict-reconfig-check=false")
	var loads []*load
	for kind := range kinds {
		loads = append(loads, newLoad(t, startProxy(t, kind, f.Members())))
	}
	faults := 0
	fault := func(do func()) {
		t.Helper()
		before := make([]map[string]int, len(loads))
		for i, l := range loads {
			before[i] = l.progress()
		}
		do()
		faults++
		for i, l := range loads {
			l.awaitProgress(before[i])
		}
	}
	for _, m := range f.Members() {
		fault(func() { must(t, m.Kill()) })
		must(t, m.Start())
		must(t, m.AwaitHealthy(t.Context()))
	}
	fault(func() {
		m, err := f.Add(t.Context(), false)
		must(t, err)
		must(t, m.AwaitHealthy(t.Context()))
	})
	fault(func() {
		_, err := f.Remove(t.Context(), f.Members()[0])
		must(t, err)
	})
	revision := int64(0)
	for _, l := range loads {
		revision = max(revision, l.stop())
	}
	for _, l := range loads {
		l.end(faults, revision)
	}
}

// load is what clients do through a proxy.
type load struct {
	t                 *testing.T
	p                 *proxy
	v2                bool // it serves the v2 API
	cancel, endWatch  context.CancelFunc
	clients, watching sync.WaitGroup

	mu       sync.Mutex // guards what follows
	done     map[string]int
	failed   map[string][]error
	last     int64   // greatest revision of a write that was acknowledged
	seen     []int64 // revisions that the watch has delivered
	watchErr error
}

func newLoad(t *testing.T, p *proxy) *load {
	ctx, cancel := context.WithCancel(t.Context())
	watchCtx, endWatch := context.WithCancel(t.Context())
	l := &load{
		t: t, p: p, v2: p.kind != "grpcproxy", cancel: cancel, endWatch: endWatch, done: map[string]int{}, failed: map[string][]error{},
	}
	t.Cleanup(func() { cancel(); endWatch(); l.clients.Wait(); l.watching.Wait() })
	c := p.client(t)
	events := c.Watch(watchCtx, "", clientv3.WithPrefix(), clientv3.WithRev(2))
	l.watching.Go(func() { l.follow(events) })
	l.run(ctx, "v3 put", func(ctx context.Context, n int) error {
		r, err := c.Put(ctx, "/v3", fmt.Sprint(n))
		if err == nil {
			l.acknowledge(r.Header.Revision)
		}
		return err
	})
	l.run(ctx, "v3 get", func(ctx context.Context, _ int) error {
		_, err := c.Get(ctx, "/v3")
		return err
	})
	if !l.v2 {
		return l
	}
	l.run(ctx, "v2 put", func(ctx context.Context, n int) error {
		return l.http(ctx, http.MethodPut, "/v2/keys/"+p.kind+"?value="+fmt.Sprint(n), nil)
	})
	next := "1"
	l.run(ctx, "v2 poll", func(ctx context.Context, _ int) error {
		var header http.Header
		// any event: the next poll continues after the index of the response
		err := l.http(ctx, http.MethodGet, "/v2/keys/"+p.kind+"?wait=true&waitIndex="+url.QueryEscape(next), &header)
		if at := header.Get("X-Etcd-Index"); err == nil && at != "" {
			next = at
		}
		return err
	})
	return l
}

// requestsBetween is how many requests of each client succeed after a fault before the next one.
const requestsBetween = 5

// pace is the time between two requests of a client.
const pace = 5 * time.Millisecond

// run makes requests one after the other until the load ends.
func (l *load) run(ctx context.Context, name string, request func(ctx context.Context, n int) error) {
	l.clients.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
			err := request(bounded, n)
			cancel()
			if ctx.Err() != nil {
				return
			}
			l.mu.Lock()
			if err != nil {
				l.failed[name] = append(l.failed[name], fmt.Errorf("%s: request %d: %w", time.Now().Format("05.000"), n, err))
			} else {
				l.done[name]++
			}
			l.mu.Unlock()
			time.Sleep(pace)
		}
	})
}

func (l *load) http(ctx context.Context, method, target string, header *http.Header) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+l.p.address+target, strings.NewReader(""))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	if header != nil {
		*header = resp.Header
	}
	return nil
}

func (l *load) acknowledge(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = max(l.last, revision)
}

// follow records what the watch delivers.
func (l *load) follow(events clientv3.WatchChan) {
	for r := range events {
		l.mu.Lock()
		if err := r.Err(); err != nil && l.watchErr == nil && !errors.Is(err, context.Canceled) {
			l.watchErr = err
		}
		for _, e := range r.Events {
			l.seen = append(l.seen, e.Kv.ModRevision)
		}
		l.mu.Unlock()
	}
}

// progress returns how many requests of each client have succeeded.
func (l *load) progress() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := map[string]int{}
	for name, n := range l.done {
		before[name] = n
	}
	return before
}

// awaitProgress waits until each client has succeeded several times since.
func (l *load) awaitProgress(before map[string]int) {
	l.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		late := ""
		now := l.progress()
		for _, name := range l.names() {
			if now[name] < before[name]+requestsBetween {
				late = name
			}
		}
		if late == "" {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s makes no progress: %v, was %v; failures %v", late, now, before, l.failed)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (l *load) names() []string {
	if l.v2 {
		return []string{"v3 put", "v3 get", "v2 put", "v2 poll"}
	}
	return []string{"v3 put", "v3 get"}
}

// stop ends the requests, but not the watch, and returns the greatest revision of a write.
func (l *load) stop() (revision int64) {
	l.cancel()
	l.clients.Wait()
	return l.last
}

// end checks what the clients have seen, when the watch has delivered everything up to a revision.
func (l *load) end(faults int, revision int64) {
	l.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		l.mu.Lock()
		caughtUp := int64(len(l.seen))+1 >= revision
		l.mu.Unlock()
		if caughtUp || time.Now().After(deadline) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	l.endWatch()
	l.watching.Wait()
	for name, errs := range l.failed {
		if len(errs) > faults {
			l.t.Errorf("%s: %s: %d failures in %d faults: %v", l.p.kind, name, len(errs), faults, errs)
		}
	}
	// every write moves the revision by one
	for i, got := range l.seen {
		if got != int64(i)+2 {
			l.t.Fatalf("%s: the watch delivered revision %d as event %d", l.p.kind, got, i)
		}
	}
	if n := int64(len(l.seen)); n+1 < revision {
		l.t.Errorf("%s: the watch has delivered revisions up to %d, and %d was acknowledged", l.p.kind, n+1, revision)
	}
	if l.watchErr != nil {
		l.t.Errorf("%s: the watch ended: %v", l.p.kind, l.watchErr)
	}
	l.t.Logf("%s: requests %v, failures %v, %d revisions watched, %d faults", l.p.kind, l.done, l.failed, len(l.seen), faults)
}
