// Package console serves the web console: its files under /console/ and its API under /console/api/
// (docs/console-api.md). The sources of the files are in web/; dist/ has what is built from them.
//
// It owns the sessions (a cookie that has a token of v3), the rules of access, and the
// requests that etcd's API does not have: the tree of keys, search, the history of a key, samples
// of the member's counters, and views of the cluster, of leases and of locks. It does not own
// etcd's requests: the page sends them to the JSON gateway, and Wrap gives them the session's
// token.
//
// While authentication is disabled, only connections from the same machine are served. While it is
// enabled, all connections are served, and each request needs a session, a token or a client
// certificate. The permissions are checked here, with the same auth.Guard as those of RPCs; the
// page checks none.
//
// Invariants: no key, value, password or token is in a URL or in a log line; a request of the API
// has the header that pages of other origins cannot send, and is not from one (TestForeignPages);
// the cost of one request is bounded (TestBounds).
//
// Concurrency: everything may be used from any number of goroutines. Run belongs to one.
package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/member"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/peer"
	"cairn/internal/snapshot"
)

// Member is the served member, as one small interface per topic. member.Member implements all of
// them and documents their methods.
type Member struct {
	Store
	Users
	Cluster
	Space
}

// Store reads and writes keys.
type Store interface {
	Keys() *mvcc.Store
	WaitLinearizable(ctx context.Context) error
	Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
	ClusterTime() kv.ClusterTime
}

// Users identifies callers.
type Users interface {
	Gate() *auth.Gate
	Login(ctx context.Context, name, password string) (token string, err error)
	Logout(ctx context.Context, token string)
}

// Cluster is the cluster as this member sees it.
type Cluster interface {
	ID() uint64
	Members() []membership.Member
	ClusterVersion() string
	Leader() uint64
	Alarms() *alarm.State
	// Peers returns the connections to the other members.
	Peers() []peer.Stats
	// OverviewOf returns the state of a member.
	OverviewOf(ctx context.Context, id uint64) (member.Overview, error)
	// RequestMove makes a member the leader.
	RequestMove(ctx context.Context, to uint64) error
}

// Space is the state as a whole.
type Space interface {
	CheckSpace() error
	StateBytes() (disk, inUse int64)
	Snapshot() (*snapshot.Source, error)
}

// Options configures a Console.
type Options struct {
	Member    Member
	Metrics   *metrics.Metrics
	ClusterID uint64
	// ReadOnly refuses every request of the console's pages that writes; --console-read-only.
	ReadOnly bool
	// V2 reports whether the v2 API is served.
	V2 bool
	// CommonNames makes the common name of a client's certificate its user, for requests without a
	// session; --client-cert-auth.
	CommonNames bool
	// Hosts are those of --host-whitelist. "*" allows no further host here.
	Hosts []string
	// Now is the wall clock; nil for time.Now.
	Now func() time.Time
}

// Console is an http.Handler for the paths that Serves reports.
type Console struct {
	opts    Options
	member  Member
	files   files
	backups chan struct{} // has a token for each snapshot that is being sent
	api     map[string]endpoint
	scans   chan struct{} // has a token for each request that reads many keys
	samples *sampler
}

// scansMax is the number of requests that read many keys at a time.
const scansMax = 2

const (
	prefix    = "/console/"
	apiPrefix = prefix + "api/"
)

// New returns a console. Run takes its samples.
func New(o Options) *Console {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Console{opts: o, member: o.Member, files: embedded(), scans: make(chan struct{}, scansMax), backups: make(chan struct{}, backupsMax)}
	c.samples = newSampler(o.Metrics, o.Member, o.Now)
	c.api = c.endpoints()
	return c
}

// Run takes samples of the member's counters until ctx ends.
func (c *Console) Run(ctx context.Context) { c.samples.run(ctx) }

// Serves reports whether a path is the console's.
func Serves(path string) bool {
	rest, ok := strings.CutPrefix(path, "/console")
	return ok && (rest == "" || rest[0] == '/')
}

// policy is the Content-Security-Policy of all responses: the page runs its own scripts only, and
// speaks to this server only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		h.Del(name) // --cors is for the API of etcd, not for the console
	}
	name, isAPI := strings.CutPrefix(r.URL.Path, apiPrefix)
	if reason := c.refusal(r); reason != "" {
		if isAPI {
			writeError(w, refuse(http.StatusForbidden, reason))
			return
		}
		http.Error(w, reason, http.StatusForbidden)
		return
	}
	switch {
	case r.URL.Path+"/" == prefix:
		http.Redirect(w, r, prefix, http.StatusMovedPermanently)
	case isAPI:
		c.serveAPI(w, r, name)
	default:
		c.files.serve(w, r, strings.TrimPrefix(r.URL.Path, prefix))
	}
}
