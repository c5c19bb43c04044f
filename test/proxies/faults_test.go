package proxies

import (
	"context"
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

// TestFaults has clients of both APIs write, watch and poll through each proxy while its members
// are killed one after the other, one is added and one removed: each client sees at most one failed
// request per fault, and the watch delivers each revision once, in order.
func TestFaults(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			p := startProxy(t, kind, f.Members())
			l := newLoad(t, p)
			faults := 0
			fault := func(do func()) {
				before := l.progress()
				do()
				faults++
				l.awaitProgress(before)
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
			if kind != "httpproxy" {
				// only that one learns of members that are added
				fault(func() {})
			}
			fault(func() {
				_, err := f.Remove(t.Context(), f.Members()[0])
				must(t, err)
			})
			l.end(faults)
		})
	}
}

// load is what clients do through a proxy.
type load struct {
	t       *testing.T
	p       *proxy
	v2      bool // it serves the v2 API
	cancel  context.CancelFunc
	clients sync.WaitGroup

	mu       sync.Mutex // guards what follows
	done     map[string]int
	failed   map[string][]error
	last     int64   // greatest revision of a write that was acknowledged
	seen     []int64 // revisions that the watch has delivered
	watchErr error
}

func newLoad(t *testing.T, p *proxy) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, p: p, v2: p.kind != "grpcproxy", cancel: cancel, done: map[string]int{}, failed: map[string][]error{}}
	t.Cleanup(func() { cancel(); l.clients.Wait() })
	c := p.client(t)
	events := c.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(2))
	l.clients.Go(func() { l.follow(events) })
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
		return l.http(ctx, http.MethodPut, "/v2/keys/v2?value="+fmt.Sprint(n), nil)
	})
	next := "1"
	l.run(ctx, "v2 poll", func(ctx context.Context, _ int) error {
		var header http.Header
		// whatever comes: the poll moves on behind the index that it was answered at
		err := l.http(ctx, http.MethodGet, "/v2/keys/v2?wait=true&waitIndex="+url.QueryEscape(next), &header)
		if at := header.Get("X-Etcd-Index"); err == nil && at != "" {
			next = at
		}
		return err
	})
	return l
}

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
		if err := r.Err(); err != nil && l.watchErr == nil {
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
			if now[name] < before[name]+20 {
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

// end checks what the clients have seen.
func (l *load) end(faults int) {
	l.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		l.mu.Lock()
		caughtUp := len(l.seen) > 0 && l.seen[len(l.seen)-1] >= l.last
		l.mu.Unlock()
		if caughtUp || time.Now().After(deadline) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	l.cancel()
	l.clients.Wait()
	for name, errs := range l.failed {
		if len(errs) > faults {
			l.t.Errorf("%s: %d failures in %d faults: %v", name, len(errs), faults, errs)
		}
	}
	// every write moves the revision by one, and no other client writes
	for i, revision := range l.seen {
		if revision != int64(i)+2 {
			l.t.Fatalf("the watch delivered revision %d as event %d", revision, i)
		}
	}
	if n := int64(len(l.seen)); n+1 < l.last {
		l.t.Errorf("the watch has delivered revisions up to %d, and %d was acknowledged", n+1, l.last)
	}
	if l.watchErr != nil {
		l.t.Errorf("the watch ended: %v", l.watchErr)
	}
	l.t.Logf("requests %v, failures %v, %d revisions watched, %d faults", l.done, l.failed, len(l.seen), faults)
}
