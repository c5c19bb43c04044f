package httpproxy

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/throttle"
)

// endpoint is a client URL of a member.
type endpoint struct {
	url     string
	scheme  string
	address string // HOST:PORT, or the path of a Unix socket
	host    string // without the port
	// time in nanoseconds until which it is used only if all others have failed, too
	failedUntil atomic.Int64
	idle        pool
}

// parseEndpoint reads a client URL.
func parseEndpoint(text string) (*endpoint, error) {
	if scheme, path, ok := strings.Cut(text, "://"); ok && (scheme == "unix" || scheme == "unixs") && path != "" {
		return &endpoint{url: text, scheme: scheme, address: path, host: path}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Port() == "":
		return nil, errors.New("want http://HOST:PORT or https://HOST:PORT")
	}
	return &endpoint{url: text, scheme: u.Scheme, address: u.Host, host: u.Hostname()}, nil
}

func (e *endpoint) isSecure() bool { return e.scheme == "https" || e.scheme == "unixs" }

func (e *endpoint) network() string {
	if strings.HasPrefix(e.scheme, "unix") {
		return "unix"
	}
	return "tcp"
}

// directory has the members' client URLs.
type directory struct {
	find            func(ctx context.Context) ([]string, error)
	refreshInterval time.Duration
	failureWait     time.Duration
	log             *slog.Logger
	unfound         *throttle.Throttle // of the log line of a search that has failed

	list atomic.Pointer[[]*endpoint] // never changed in place
	next atomic.Uint32               // index of the endpoint for the next request

	onFailure func() // called when a member has failed while it was in use

	// has a value when a member has failed: its address may have changed, or it may have been
	// removed
	failed chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed when the list changes
}

// unfoundInterval is the interval at which a search that fails is logged: while no member can be
// reached, there are four in a second.
const unfoundInterval = 10 * time.Second

// soon is the time until the next search for members while there are none, or after one has failed.
const soon = 250 * time.Millisecond

// run searches for the members repeatedly until ctx ends.
func (d *directory) run(ctx context.Context) {
	for {
		d.refresh(ctx)
		wait := d.refreshInterval
		if len(d.all()) == 0 {
			wait = min(wait, soon)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			continue
		case <-d.failed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(soon):
		}
	}
}

// refresh searches for the members once. If that fails, the list is unchanged.
func (d *directory) refresh(ctx context.Context) {
	urls, err := d.find(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.unfound.Warn(d.log, "", "cannot find the members of the cluster", "error", err)
		}
		return
	}
	slices.Sort(urls)
	urls = slices.Compact(urls)
	old := d.all()
	var list []*endpoint
	for _, u := range urls {
		if i := slices.IndexFunc(old, func(e *endpoint) bool { return e.url == u }); i >= 0 {
			list = append(list, old[i])
			continue
		}
		e, err := parseEndpoint(u)
		if err != nil {
			d.log.Warn("client URL of a member cannot be used", "url", u, "error", err)
			continue
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		d.log.Warn("the members of the cluster have no client URLs")
		return
	}
	for _, e := range old {
		if !slices.Contains(list, e) {
			e.idle.close()
		} else {
			e.idle.closeOld()
		}
	}
	if len(old) == len(list) && !slices.ContainsFunc(list, func(e *endpoint) bool { return !slices.Contains(old, e) }) {
		return
	}
	// so that not all proxies start with the same member
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	d.list.Store(&list)
	d.log.Info("members of the cluster", "client_urls", strings.Join(urls, ","))
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
}

// all returns the list, which may be empty.
func (d *directory) all() []*endpoint {
	if list := d.list.Load(); list != nil {
		return *list
	}
	return nil
}

// clientURLs returns the client URLs of all members.
func (d *directory) clientURLs() (urls []string) {
	for _, e := range d.all() {
		urls = append(urls, e.url)
	}
	return urls
}

// urls returns the client URLs of the members that are not excluded because of a failure.
func (d *directory) urls() []string {
	urls := []string{}
	now := time.Now().UnixNano()
	for _, e := range d.all() {
		if e.failedUntil.Load() <= now {
			urls = append(urls, e.url)
		}
	}
	return urls
}

// awaitChange returns when the list has changed, or ctx ends.
func (d *directory) awaitChange(ctx context.Context) {
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// attempts walks through the endpoints for one request: first the ones that work, in turn, then the
// ones that have failed before it began. Each is tried once.
type attempts struct {
	list  []*endpoint
	start int
	at    int // endpoints considered, in both passes together
	now   int64
	tried uint64 // the first 64 of the list that have been
}

func (d *directory) attempts() attempts {
	list := d.all()
	a := attempts{list: list, now: time.Now().UnixNano()}
	if len(list) > 0 {
		a.start = int(d.next.Add(1)-1) % len(list)
	}
	return a
}

// next returns the endpoint to try next, or nil when all have been tried.
func (a *attempts) next() *endpoint {
	for ; a.at < 2*len(a.list); a.at++ {
		i := (a.start + a.at) % len(a.list)
		e, mark := a.list[i], uint64(1)<<min(i, 63)
		if failed := e.failedUntil.Load() > a.now; failed == (a.at >= len(a.list)) && (a.tried&mark == 0 || i >= 63) {
			a.at++
			a.tried |= mark
			return e
		}
	}
	return nil
}

// fail excludes an endpoint whose connection has broken for a while.
func (d *directory) fail(e *endpoint, err error) {
	if d.exclude(e, err) && d.onFailure != nil {
		d.onFailure()
	}
}

// exclude excludes an endpoint for a while. It reports whether the endpoint was in use.
func (d *directory) exclude(e *endpoint, err error) bool {
	now := time.Now()
	e.idle.close()
	select {
	case d.failed <- struct{}{}:
	default:
	}
	inUse := e.failedUntil.Swap(now.Add(d.failureWait).UnixNano()) <= now.UnixNano()
	if inUse {
		d.log.Warn("member has failed", "url", e.url, "error", err, "retry_in", d.failureWait)
	}
	return inUse
}
