package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
)

// Peer is another member and where it is reached.
type Peer struct {
	ID   uint64
	URLs []string // http, https, unix or unixs; tried in turn
}

// Handler is told of what comes from peers, and of what became of what was sent to them.
type Handler interface {
	// Receive takes a raft message of a peer, which is the handler's from then on. It may block as
	// long as ctx is not done: that holds up the lane that the message came on, first here and in
	// the end at its sender, and nothing else.
	Receive(ctx context.Context, m *raftpb.Message)
	// Unreachable says that messages to a peer were lost. Raft wants to know of it
	// (ReportUnreachable).
	Unreachable(id uint64)
	// ReceiveSnapshot takes a snapshot of a peer: m is the MsgSnap that it goes with, as it was
	// given to SendSnapshot there, and r has its bytes: size many, or any number if size is
	// negative. Reading blocks while the connection is re-established. A nil error tells the
	// sender that the snapshot has arrived; the handler must have read all of r then, since
	// otherwise it would not be whole: the sender is told so.
	ReceiveSnapshot(ctx context.Context, m *raftpb.Message, size int64, r io.Reader) error
	// SnapshotSent says what became of a snapshot: ok when the peer's ReceiveSnapshot returned nil.
	// Raft wants to know of it (ReportSnapshot). It is called exactly once for each SendSnapshot,
	// unless Close comes first.
	SnapshotSent(id uint64, ok bool)
	// RemovedFromCluster says that a member of the cluster knows that this one was removed. It is
	// called once at most.
	RemovedFromCluster()
}

// TLS returns the configuration of one connection to a host. It is called for each connection, so
// that certificates can be replaced.
type TLS func(host string) *tls.Config

// Config is what a Transport is made with.
type Config struct {
	MemberID  uint64 // this member
	ClusterID uint64
	Logger    *slog.Logger
	Handler   Handler
	TLS       TLS    // for https and unixs URLs; nil for the system's roots and no certificate
	Limits    Limits // zero fields have their defaults

	// RoundTrip is told of each measurement of the way to a peer and back. May be nil.
	RoundTrip func(id uint64, d time.Duration)

	// Removed reports whether a member was removed from the cluster, so that it is told when it
	// calls. It must not call the transport. May be nil.
	Removed func(id uint64) bool
	// Members is what /members shows. May be nil: then there is no such path.
	Members func() []membership.Member
	// Others serves all other paths of the peer port: /version, /health. May be nil: they are not
	// found then.
	Others http.Handler
}

// Limits bound memory and patience.
type Limits struct {
	// of messages that wait in the control lane of a peer, where one may have 1 MiB; 4 MiB
	ControlBytes    int
	ControlMessages int // 4096
	// of messages that wait in the append lane of a peer, those being written included, or of one
	// if that is larger; 64 MiB
	AppendBytes     int
	AppendMessages  int // 4096
	MessageBytesMax int // of one message in the append lane, sent or received; 512 MiB
	CallBytesMax    int // of a call's body, and of its answer; 16 MiB
	CallsMax        int // calls being served at a time; 1024
	StreamsMax      int // streams that peers have opened; 128

	SnapshotBytesPerSecond int64         // of each snapshot sent; 0 is no limit
	SnapshotPatience       time.Duration // without progress, before a snapshot is given up; 30 s

	ConnectTimeout time.Duration // for dialling, and once more for the handshake; 5 s
	PingInterval   time.Duration // between signs of life, and measurements of the round trip; 1 s
	DeadAfter      time.Duration // without a sign of life, before a connection is closed; 5 s
	// before the first attempt to connect again; doubles from there; 50 ms
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
	setTime(&l.SnapshotPatience, 30*time.Second)
	setTime(&l.ConnectTimeout, 5*time.Second)
	setTime(&l.PingInterval, time.Second)
	setTime(&l.DeadAfter, 5*time.Second)
	setTime(&l.BackoffMin, 50*time.Millisecond)
	setTime(&l.BackoffMax, 2*time.Second)
}

// Transport holds the connections to the other members. It is an http.Handler that serves the peer
// port.
type Transport struct {
	cfg   Config
	log   *slog.Logger
	ctx   context.Context // of everything; done when the transport closes
	stop  context.CancelFunc
	work  sync.WaitGroup // grows only under mu and while not closed, or from what it counts already
	peers atomic.Pointer[map[uint64]*peer]

	mu        sync.Mutex // guards what follows, and changes of peers
	closed    bool
	streams   map[streamKey]*stream
	snapshots map[uint64]*receiving // by sender
	calls     map[string]CallHandler

	removed   sync.Once
	refused   once
	callSlots chan struct{}
	callers   callers

	identities identities
}

// New makes a transport without peers. Nothing is connected before SetPeers.
func New(cfg Config) *Transport {
	cfg.Limits.setDefaults()
	t := &Transport{
		cfg: cfg, log: cfg.Logger,
		streams: map[streamKey]*stream{}, snapshots: map[uint64]*receiving{}, calls: map[string]CallHandler{},
		callSlots: make(chan struct{}, cfg.Limits.CallsMax), identities: newIdentities(),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.peers.Store(&map[uint64]*peer{})
	t.callers = newCallers(t)
	return t
}

// SetPeers says who the other members are. Streams to peers that are no longer among them are
// closed, as are those of members that Removed knows. This member itself may be among them, and is
// ignored. URLs that cannot be used are logged.
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
			s.cancel() // it learns why when it comes again
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

// Send sends raft messages, each to the peer that its To names, and returns at once. Those to
// unknown peers are dropped. Messages and their entries must not be changed any more. A MsgSnap is
// not sent but reported by SnapshotSent as failed: it belongs to SendSnapshot.
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
// Config.Others. The server must speak HTTP/1.1 and bound the time for a request's head.
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

// Close ends all connections and waits for whatever they were doing, callbacks included: those with
// a ctx must return when it is done, and none may call Close.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.stop()
	t.work.Wait()
	t.callers.close()
	return nil
}
