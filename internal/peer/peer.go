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

// peer is another member as this one sends to it.
type peer struct {
	t    *Transport
	id   uint64
	log  *slog.Logger
	ctx  context.Context // of everything that is done for this peer
	stop context.CancelFunc

	control, append *lane

	mu       sync.Mutex // guards what follows
	urls     []*url.URL
	next     int // the URL that is to be tried next
	transfer *sending

	active atomic.Pointer[time.Time] // since when the control lane is connected
	lost   chan struct{}             // holds something when Unreachable is to be called
	// what SnapshotSent is to be called with, for those that never began
	snapshots chan bool
	counters  counters
	said      once
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

// report tells the handler of losses. It is a goroutine of its own so that the handler may take its
// time.
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

// lose counts messages that will not arrive. Many losses between two reports are one report.
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

// laneOf says how a message travels. All MsgApp go one way: an empty one says what the log before
// it must look like.
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

// url returns the one to try. After a failure it is the next one.
func (p *peer) url() *url.URL {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.urls) == 0 {
		return nil
	}
	return p.urls[p.next%len(p.urls)]
}

// failedURL has the next one tried, unless another lane has moved on already.
func (p *peer) failedURL(u *url.URL) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.urls) > 0 && p.urls[p.next%len(p.urls)] == u {
		p.next++
	}
}

var errNoURL = errors.New("it has no peer URL that can be used")

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

// failed counts and logs the end of a connection, or of the attempt to make one, once for each kind
// of trouble.
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
	if p.said.first("", what) {
		p.log.Warn("cannot reach a peer", "reason", reason, "error", err.Error())
	}
}

// works notes that all is well again.
func (p *peer) works(u *url.URL) {
	p.greeted.Do(func() { p.log.Info("connected to a peer", "url", u.String()) })
	if p.said.settled("") {
		p.log.Info("peer reached again", "url", u.String())
	}
}

// refusedBy looks at what a member said that did not want to have to do with this one.
func (t *Transport) refusedBy(why *refusal) {
	if why.Code == refusedRemoved && why.Status == http.StatusGone {
		t.removed.Do(func() {
			t.work.Go(t.cfg.Handler.RemovedFromCluster)
		})
	}
}

// kick ends the waiting of whatever could not connect: there is a sign that the peer is there.
func (p *peer) kick() {
	p.control.kick()
	p.append.kick()
}

// backoff is how long to wait after so many failures in a row: doubling, with half of it left to
// chance so that members which fell out together do not come back together.
func (t *Transport) backoff(failures int) time.Duration {
	l := &t.cfg.Limits
	d := l.BackoffMax
	if shift := failures - 1; shift < 20 {
		d = min(d, l.BackoffMin<<max(shift, 0))
	}
	return d/2 + rand.N(d/2+1)
}

// timeout reports whether a connection ended since nothing came.
func timeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
