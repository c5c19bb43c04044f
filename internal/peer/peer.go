package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// peer is the sending side of another member.
type peer struct {
	t    *Transport
	id   uint64
	log  *slog.Logger
	ctx  context.Context // of everything that is done for this peer
	stop context.CancelFunc

	control, append *lane

	mu       sync.Mutex // guards the fields below
	urls     []*url.URL
	next     int // index of the URL to try next
	transfer *sending

	active atomic.Pointer[time.Time] // when the control lane was connected; nil while it is not
	lost   chan struct{}             // has an element when Unreachable must be called
	// arguments of pending calls of SnapshotSent, for snapshots that never began
	snapshots chan bool
	counters  counters
	logged    once
	greeted   sync.Once
}

func (t *Transport) newPeer(id uint64, urls []*url.URL) *peer {
	p := &peer{t: t, id: id, urls: urls, lost: make(chan struct{}, 1), snapshots: make(chan bool, 16)}
	p.log = t.log.With("peer_id", formatID(id))
	p.ctx, p.stop = context.WithCancel(t.ctx)
	l := &t.cfg.Limits
	p.control = newLane(p, laneControl, l.ControlMessages, l.ControlBytes)
	p.append = newLane(p, laneAppend, l.AppendMessages, l.AppendBytes)
	t.work.Go(p.control.run)
	t.work.Go(p.append.run)
	t.work.Go(p.report)
	return p
}

// report calls the handler about losses, from its own goroutine, because the handler may block.
func (p *peer) report() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.lost:
			p.t.cfg.Handler.Unreachable(p.id)
		case ok := <-p.snapshots:
			p.t.cfg.Handler.SnapshotSent(p.id, ok)
		}
	}
}

// lose counts lost messages. Many losses between two reports are reported once.
func (p *peer) lose(n int) {
	p.counters.dropped.Add(uint64(n))
	p.unreachable()
}

func (p *peer) unreachable() {
	select {
	case p.lost <- struct{}{}:
	default:
	}
}

func (p *peer) activeSince() time.Time {
	if since := p.active.Load(); since != nil {
		return *since
	}
	return time.Time{}
}

// laneOf returns the lane of a message. All MsgApp use one lane, even empty ones: their order
// matters to raft.
func (p *peer) laneOf(m *raftpb.Message) *lane {
	switch m.GetType() {
	case raftpb.MessageType_MsgApp, raftpb.MessageType_MsgProp:
		return p.append
	}
	return p.control
}

// setURLs replaces connections to other URLs by new ones.
func (p *peer) setURLs(urls []*url.URL) {
	p.mu.Lock()
	same := slices.EqualFunc(p.urls, urls, func(a, b *url.URL) bool { return *a == *b })
	if !same {
		p.urls, p.next = urls, 0
	}
	p.mu.Unlock()
	if same {
		return
	}
	p.control.reconsider(urls)
	p.append.reconsider(urls)
}

// url returns the URL to try: after a failure the next one.
func (p *peer) url() *url.URL {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.urls) == 0 {
		return nil
	}
	return p.urls[p.next%len(p.urls)]
}

// failedURL advances to the next URL, unless another lane has done so already.
func (p *peer) failedURL(u *url.URL) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.urls) > 0 && p.urls[p.next%len(p.urls)] == u {
		p.next++
	}
}

var errNoURL = errors.New("it has no usable peer URL")

// connect makes one attempt to open a stream.
func (p *peer) connect(ctx context.Context, more func(http.Header)) (*link, http.Header, *url.URL, error) {
	u := p.url()
	if u == nil {
		return nil, nil, nil, errNoURL
	}
	l, head, err := p.t.upgrade(ctx, u, p.id, more)
	if err != nil {
		p.failedURL(u)
		return nil, nil, nil, fmt.Errorf("connect to %s: %w", u, err)
	}
	return l, head, u, nil
}

// failed counts and logs the failure of a connection, or of the attempt to open one. Each kind of
// error is logged once.
func (p *peer) failed(err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.counters.failures.Add(1)
	what, reason := "unreachable", "unreachable"
	if why := (*refusal)(nil); errors.As(err, &why) {
		p.t.refusedBy(why)
		what, reason = why.Text, why.Code
	}
	if p.logged.first("", what) {
		p.log.Warn("cannot reach a peer", "reason", reason, "error", err.Error())
	}
}

// works logs that an earlier failure is over.
func (p *peer) works(u *url.URL) {
	p.greeted.Do(func() { p.log.Info("connected to a peer", "url", u.String()) })
	if p.logged.clear("") {
		p.log.Info("peer reached again", "url", u.String())
	}
}

// refusedBy acts on a refusal by another member.
func (t *Transport) refusedBy(why *refusal) {
	if why.Code == refusedRemoved && why.Status == http.StatusGone {
		t.removed.Do(func() {
			t.work.Go(t.cfg.Handler.RemovedFromCluster)
		})
	}
}

// kick makes the lanes connect now: there is a sign that the peer is reachable.
func (p *peer) kick() {
	p.control.kick()
	p.append.kick()
}

// backoff returns the delay after so many failures in a row: it doubles, and half of it is random,
// so that members that were disconnected together do not reconnect together.
func (t *Transport) backoff(failures int) time.Duration {
	l := &t.cfg.Limits
	d := l.BackoffMax
	if shift := failures - 1; shift < 20 {
		d = min(d, l.BackoffMin<<max(shift, 0))
	}
	return d/2 + rand.N(d/2+1)
}

// timeout reports whether a connection failed because nothing arrived.
func timeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
