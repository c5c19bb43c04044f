package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
)

// Peer is another member and its URLs.
type Peer struct {
	ID   uint64
	URLs []string // http, https, unix or unixs; tried in turn
}

// Handler receives what peers send, and the results of what was sent to them.
type Handler interface {
	// Receive receives a raft message of a peer; the handler owns it afterwards. It may block until
	// ctx is done: that blocks the lane that carried the message, here and eventually at its
	// sender, and nothing else.
	Receive(ctx context.Context, m *raftpb.Message)
	// Unreachable reports that messages to a peer were lost, for raft's ReportUnreachable.
	Unreachable(id uint64)
	// ReceiveSnapshot receives a snapshot of a peer: m is the MsgSnap that the peer passed to
	// SendSnapshot, and r has the bytes: size many, or any number if size is negative. Reading
	// blocks while the connection is re-established. A nil error reports to the sender that the
	// snapshot has arrived; the handler must have read all of r by then, otherwise the sender gets
	// an error.
	ReceiveSnapshot(ctx context.Context, m *raftpb.Message, size int64, r io.Reader) error
	// SnapshotSent reports the result of a snapshot: ok when the peer's ReceiveSnapshot returned
	// nil, for raft's ReportSnapshot. It is called exactly once for each SendSnapshot, unless Close
	// comes first.
	SnapshotSent(id uint64, ok bool)
	// RemovedFromCluster reports that, according to a member of the cluster, this one was removed.
	// It is called at most once.
	RemovedFromCluster()
}

// TLS returns the configuration of one connection to a host. It is called for each connection, so
// that certificates can be replaced.
type TLS func(host string) *tls.Config

// Config configures a Transport.
type Config struct {
	MemberID  uint64 // this member
	ClusterID uint64
	Logger    *slog.Logger
	Handler   Handler
	TLS       TLS    // for https and unixs URLs; nil for the system's roots and no certificate
	Limits    Limits // zero fields mean the defaults
	// LocalIP is the address that connections to peers are made from; the zero address leaves the
	// choice to the system.
	LocalIP netip.Addr

	// RoundTrip is called with each measured round-trip time to a peer. May be nil.
	RoundTrip func(id uint64, d time.Duration)

	// Removed reports whether a member was removed from the cluster; a removed member that connects
	// gets a refusal that says so. It must not call the transport. May be nil.
	Removed func(id uint64) bool
	// Members returns the content of /members. If nil, there is no such path.
	Members func() []membership.Member
	// Others serves all other paths of the peer port: /version, /health. If nil, they are not
	// found.
	Others http.Handler
}

// Limits are limits of memory and time.
type Limits struct {
	// of messages that wait in the control lane of a peer; a single one may have 1 MiB; default 4
	// MiB
	ControlBytes    int
	ControlMessages int // 4096
	// of messages that wait in the append lane of a peer, including those being written, or of one
	// if that is larger; default 64 MiB
	AppendBytes     int
	AppendMessages  int // 4096
	MessageBytesMax int // of one message in the append lane, sent or received; 512 MiB
	CallBytesMax    int // of a call's body, and of its response; 16 MiB
	CallsMax        int // concurrent calls served; 1024
	StreamsMax      int // streams opened by peers; 128

	SnapshotBytesPerSecond int64         // of each snapshot sent; 0 means no limit
	SnapshotTimeout        time.Duration // without progress, before a snapshot fails; 30 s

	ConnectTimeout time.Duration // for dialing, and once more for the handshake; 5 s
	PingInterval   time.Duration // between signs of life, and measurements of the round trip; 1 s
	DeadAfter      time.Duration // without a sign of life, before a connection is closed; 5 s
	WriteTimeout   time.Duration // for a write, before a connection is closed; as DeadAfter
	// delay before the first attempt to reconnect; doubles from there; 50 ms
	BackoffMin time.Duration
	BackoffMax time.Duration // 2 s
}

func (l *Limits) setDefaults() {
	setInt := func(v *int, standard int) {
		if *v <= 0 {
			*v = standard
		}
	}
	setTime := func(v *time.Duration, standard time.Duration) {
		if *v <= 0 {
			*v = standard
		}
	}
	setInt(&l.ControlBytes, 4<<20)
	setInt(&l.ControlMessages, 4096)
	setInt(&l.AppendBytes, 64<<20)
	setInt(&l.AppendMessages, 4096)
	setInt(&l.MessageBytesMax, 512<<20)
	setInt(&l.CallBytesMax, 16<<20)
	setInt(&l.CallsMax, 1024)
	setInt(&l.StreamsMax, 128)
	setTime(&l.SnapshotTimeout, 30*time.Second)
	setTime(&l.ConnectTimeout, 5*time.Second)
	setTime(&l.PingInterval, time.Second)
	setTime(&l.DeadAfter, 5*time.Second)
	setTime(&l.WriteTimeout, l.DeadAfter)
	setTime(&l.BackoffMin, 50*time.Millisecond)
	setTime(&l.BackoffMax, 2*time.Second)
}

// Transport owns the connections to the other members. It is an http.Handler that serves the peer
// port.
type Transport struct {
	cfg   Config
	log   *slog.Logger
	ctx   context.Context // of everything; done when the transport closes
	stop  context.CancelFunc
	work  sync.WaitGroup // incremented only under mu while not closed, or by what it counts already
	peers atomic.Pointer[map[uint64]*peer]

	mu        sync.Mutex // guards the fields below, and changes of peers
	closed    bool
	streams   map[streamKey]*stream
	snapshots map[uint64]*receiving // by sender
	calls     map[string]CallHandler

	removed   sync.Once
	refused   once
	callSlots chan struct{}
	callers   callers

	identities identities
	strangers  strangers
}

// New makes a transport without peers. It opens no connection before SetPeers.
func New(cfg Config) *Transport {
	cfg.Limits.setDefaults()
	t := &Transport{
		cfg: cfg, log: cfg.Logger,
		streams: map[streamKey]*stream{}, snapshots: map[uint64]*receiving{}, calls: map[string]CallHandler{},
		callSlots: make(chan struct{}, cfg.Limits.CallsMax), identities: newIdentities(),
		strangers: strangers{max: strangersMax},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.peers.Store(&map[uint64]*peer{})
	t.callers = newCallers(t)
	return t
}

// SetPeers sets the other members. Streams to members that are no longer peers are closed, as are
// those of members for which Removed is true. This member itself may be in peers, and is ignored.
// Unusable URLs are logged.
func (t *Transport) SetPeers(peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old, next := *t.peers.Load(), map[uint64]*peer{}
	for _, wanted := range peers {
		if wanted.ID == t.cfg.MemberID {
			continue
		}
		urls := t.usable(wanted)
		p := old[wanted.ID]
		if p == nil {
			p = t.newPeer(wanted.ID, urls)
		} else {
			p.setURLs(urls)
		}
		next[wanted.ID] = p
	}
	t.peers.Store(&next)
	for id, p := range old {
		if next[id] == nil {
			p.stop()
		}
	}
	t.identities.forget(func(id uint64) bool { return next[id] != nil })
	if t.cfg.Removed == nil {
		return
	}
	for key, s := range t.streams {
		if t.cfg.Removed(key.from) {
			s.cancel() // it gets the reason at its next request
		}
	}
}

// usable parses the URLs of a peer.
func (t *Transport) usable(p Peer) (urls []*url.URL) {
	for _, text := range p.URLs {
		u, err := parseURL(text)
		if err != nil {
			t.log.Error("cannot use a peer URL", "peer_id", formatID(p.ID), "url", text, "error", err)
			continue
		}
		urls = append(urls, u)
	}
	return urls
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https", "unix", "unixs":
	default:
		return nil, fmt.Errorf("scheme %q is none of http, https, unix, unixs", u.Scheme)
	}
	if strings.HasPrefix(u.Scheme, "unix") {
		u.Host += u.Path // the whole is the socket's path
	}
	if u.Host == "" {
		return nil, errors.New("it has no host")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Send sends raft messages, each to the peer in its To, and returns at once. Messages to unknown
// peers are dropped. Messages and their entries must not be modified afterwards. A MsgSnap is not
// sent but reported by SnapshotSent as failed: use SendSnapshot.
func (t *Transport) Send(msgs []*raftpb.Message) {
	if len(msgs) == 0 {
		return
	}
	peers, now := *t.peers.Load(), time.Now()
	for _, m := range msgs {
		p := peers[m.GetTo()]
		switch {
		case p == nil:
		case m.GetType() == raftpb.MessageType_MsgSnap:
			p.reportSnapshot(false)
		case !p.laneOf(m).put(m, now):
			p.lose(1)
		}
	}
}

// ServeHTTP serves the peer port: streams, snapshots and calls of peers, /members, and
// Config.Others. The server must support HTTP/1.1 and limit the time for a request's head; see
// Protect.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == pathStream:
		t.serveStream(w, r)
	case strings.HasPrefix(path, pathCall):
		t.serveCall(w, r, strings.TrimPrefix(path, pathCall))
	case path == pathConfirm:
		t.serveConfirm(w, r)
	case path == "/members" && t.cfg.Members != nil:
		t.serveMembers(w, r)
	case t.cfg.Others != nil:
		t.cfg.Others.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Close closes all connections and waits for all goroutines and callbacks: callbacks with a ctx
// must return when it is done, and none may call Close.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.stop()
	t.work.Wait()
	t.callers.close()
	return nil
}
