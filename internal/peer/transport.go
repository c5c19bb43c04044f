package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
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
	// Receive takes a raft message of a peer, which is the handler's from then on. It may block as long as ctx is not done: that
	// holds up the lane that the message came on, first here and in the end at its sender, and nothing else.
	Receive(ctx context.Context, m *raftpb.Message)
	// Unreachable says that messages to a peer were lost. Raft wants to know of it (ReportUnreachable).
	Unreachable(id uint64)
	// ReceiveSnapshot takes a snapshot of a peer: m is the MsgSnap that it goes with, as it was given to SendSnapshot there,
	// and r has its bytes: size many, or any number if size is negative. Reading blocks while the connection is
	// being made anew. A nil error tells the sender that the snapshot has arrived; the handler must have read
	// r to its io.EOF then, since anything else means that it is not whole.
	ReceiveSnapshot(ctx context.Context, m *raftpb.Message, size int64, r io.Reader) error
	// SnapshotSent says what became of a snapshot: ok when the peer's ReceiveSnapshot returned nil. Raft wants to know
	// of it (ReportSnapshot). It is called exactly once for each SendSnapshot, unless Close comes first.
	SnapshotSent(id uint64, ok bool)
	// RemovedFromCluster says that a member of the cluster knows that this one was removed. It is called once at most.
	RemovedFromCluster()
}

// Config is what a Transport is made with.
type Config struct {
	MemberID  uint64 // this member
	ClusterID uint64
	Logger    *slog.Logger
	Handler   Handler
	TLS       *tls.Config // for https and unixs URLs; nil for the system's roots and no certificate of our own
	Limits    Limits      // zero fields have their defaults

	// Removed says whether a member was removed from the cluster, so that it is told when it calls. May be nil.
	Removed func(id uint64) bool
	// Members is what /members shows. May be nil: then there is no such path.
	Members func() []membership.Member
	// Others serves all other paths of the peer port: /version, /health. May be nil: they are not found then.
	Others http.Handler
}

// Limits bound memory and patience.
type Limits struct {
	ControlBytes    int // of messages that wait in the control lane of a peer; 4 MiB
	ControlMessages int // 4096
	AppendBytes     int // of messages that wait in the append lane of a peer, those being written included; 64 MiB
	AppendMessages  int // 4096
	MessageBytesMax int // of one message, sent or received; 512 MiB
	CallBytesMax    int // of a call's body, and of its answer; 16 MiB
	CallsMax        int // calls being served at a time; 1024
	StreamsMax      int // streams that peers have opened; 128

	SnapshotBytesPerSecond int64         // of each snapshot sent; 0 is no limit
	SnapshotPatience       time.Duration // without progress, before a snapshot is given up; 30 s

	ConnectTimeout time.Duration // for dialling, and once more for the handshake; 5 s
	PingInterval   time.Duration // between signs of life, and measurements of the round trip; 1 s
	DeadAfter      time.Duration // without a sign of life, before a connection is closed; 5 s
	BackoffMin     time.Duration // before the first attempt to connect again; doubles from there; 50 ms
	BackoffMax     time.Duration // 2 s
}

// Transport holds the connections to the other members. It is an http.Handler that serves the peer port.
type Transport struct {
	cfg Config
	mu  sync.Mutex
}

// New makes a transport without peers. Nothing is connected before SetPeers.
func New(cfg Config) *Transport { return &Transport{cfg: cfg} }

// SetPeers says who the other members are. Streams to peers that are no longer among them are closed, as are those of
// members that Removed knows. This member itself may be among them, and is ignored. URLs that cannot be used are logged.
func (t *Transport) SetPeers(peers []Peer) {}

// Send sends raft messages, each to the peer that its To names, and returns at once. Those to unknown peers are dropped. Messages and
// their entries must not be changed any more. A MsgSnap is not sent but reported by SnapshotSent as failed: it belongs to SendSnapshot.
func (t *Transport) Send(msgs []*raftpb.Message) {}

// SendSnapshot begins to send a snapshot: the MsgSnap m, and the bytes of r, size many (negative: not known). It returns at once;
// SnapshotSent says how it ended. r is read once from its beginning to its end, at the pace of the peer, and closed in any case. A connection that breaks
// is made anew, and the transfer continues where it was. At most one is under way to each peer: the next one ends it.
func (t *Transport) SendSnapshot(m *raftpb.Message, size int64, r io.ReadCloser) {}

// ServeHTTP serves the peer port: streams, snapshots and calls of peers, /members, and Config.Others. The server must
// speak HTTP/1.1 and bound the time for a request's head.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// Close ends all connections and waits for whatever they were doing. Callbacks that block must return when their ctx is done.
func (t *Transport) Close() error { return nil }

// CallHandler answers a call: from is the member that asks. An error that is, or wraps, a *RemoteError arrives as such.
type CallHandler func(ctx context.Context, from uint64, body []byte) ([]byte, error)

// RemoteError is what a CallHandler of another member returned.
type RemoteError struct {
	Code string // for programs: lower case, digits, dashes, or "" when the handler gave another kind of error
	Text string // for people
}

func (e *RemoteError) Error() string { return e.Text }

// The errors of Call beside *RemoteError and those of the context.
var (
	ErrUnknownPeer = errors.New("no such peer")
	// ErrNotSent is wrapped when the call has certainly not been executed: it may be tried again.
	ErrNotSent = errors.New("peer not reached")
)

// Register has a path of calls answered. Paths are like "lease/keepalive"; register before peers are served.
func (t *Transport) Register(path string, h CallHandler) {}

// Call has a peer answer a call. It does not try again by itself.
func (t *Transport) Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
	return nil, ErrUnknownPeer
}

// Stats are counts and measurements of the traffic with one peer since the transport was made.
type Stats struct {
	ID          uint64
	Active      bool      // the control lane to it is connected
	ActiveSince time.Time // or the zero time

	SentMessages, SentBytes         uint64
	ReceivedMessages, ReceivedBytes uint64
	Dropped                         uint64 // messages that did not fit, or had no connection
	Failures                        uint64 // connections that could not be made, or broke

	SnapshotsSent, SnapshotsFailed, SnapshotsReceived uint64

	RoundTrip Latency // of pings on the control lane
}

// Latency sums up measurements.
type Latency struct {
	Count                           uint64
	Last, Average, StdDev, Min, Max time.Duration
}

// Stats returns those of all present peers, in the order of their IDs.
func (t *Transport) Stats() []Stats { return nil }

// ActiveSince returns since when the control lane to a peer is connected; the zero time when it is not.
func (t *Transport) ActiveSince(id uint64) time.Time { return time.Time{} }

// FetchCluster asks the peer ports at some URLs, one after the other, for the members of their cluster. It returns the first
// answer, or an error that tells of each URL.
func FetchCluster(ctx context.Context, urls []string, tlsConfig *tls.Config) (clusterID uint64, members []membership.Member, err error) {
	return 0, nil, errors.ErrUnsupported
}

// FetchVersion asks the peer ports at some URLs, one after the other, for their versions: etcd's API level of the member, and
// that of its cluster ("not_decided" while there is none).
func FetchVersion(ctx context.Context, urls []string, tlsConfig *tls.Config) (server, cluster string, err error) {
	return "", "", errors.ErrUnsupported
}
