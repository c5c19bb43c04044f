package peer

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// refusal is the reason why a peer is not served. It is sent as the body of the response.
type refusal struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Text   string `json:"message"`
	detail string // for the log of the refusing member
}

func (r *refusal) Error() string { return r.Text }

// The codes of refusals; docs/formats/peer.md describes them.
const (
	refusedCluster  = "cluster-mismatch"
	refusedReceiver = "wrong-member"
	refusedRemoved  = "removed"
	refusedVersion  = "version"
	refusedRequest  = "bad-request"
	refusedBusy     = "busy"
	refusedTransfer = "unknown-transfer"
)

func (r *refusal) write(w http.ResponseWriter) {
	body, err := json.Marshal(r)
	if err != nil {
		body = nil // cannot happen with strings alone
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // an error means that the peer has disconnected
}

// The texts go over the wire: they name neither the cluster nor the refusing member.

func clusterMismatch(me, mine, from, theirs uint64) *refusal {
	return &refusal{
		http.StatusPreconditionFailed, refusedCluster,
		"cluster ID mismatch: a member that joins a cluster needs --initial-cluster-state existing; else check --initial-cluster and " +
			"--initial-cluster-token of both members",
		fmt.Sprintf("cluster ID mismatch: member %016x belongs to cluster %016x, member %016x to cluster %016x", me, mine, from, theirs),
	}
}

func wrongReceiver(me, from, wanted uint64) *refusal {
	return &refusal{
		http.StatusMisdirectedRequest, refusedReceiver,
		"wrong member: another member is at this address; check the peer URLs (member list)",
		fmt.Sprintf("wrong member: member %016x requested member %016x from member %016x; check their peer URLs (member list)", from, wanted, me),
	}
}

func removedSender(from uint64) *refusal {
	return &refusal{
		http.StatusGone, refusedRemoved, "the sender was removed from the cluster",
		fmt.Sprintf("member %016x was removed from the cluster", from),
	}
}

func versionMismatch(mine, theirs string) *refusal {
	return &refusal{
		http.StatusUpgradeRequired, refusedVersion,
		fmt.Sprintf("incompatible peer protocol: the receiver uses version %s, the sender %q; run versions of cairn that are closer to each other", mine, theirs), "",
	}
}

func badRequest(what string) *refusal {
	return &refusal{http.StatusBadRequest, refusedRequest, what, ""}
}

func busy(what string) *refusal {
	return &refusal{http.StatusServiceUnavailable, refusedBusy, what, ""}
}

// onceMax is the maximum number of different failures that are remembered.
const onceMax = 1024

// Lines about failures: so many at once, and one more in each interval. A process that reaches the
// peer port can cause a new failure with each request, and must not fill the disk with the log.
const (
	failureLines    = 64
	failureInterval = 10 * time.Second
)

// failureKey is a failure, and the peer that it is about.
type failureKey struct{ peer, what string }

// once suppresses repeated log lines: each failure of a peer is logged once, until that peer
// succeeds again, and no more than failureLines of all failures at a time.
type once struct {
	mu     sync.Mutex
	logged map[failureKey]bool
	lines  int       // of the last intervals
	since  time.Time // when lines was last reduced
}

// allowed reports whether there is room for another line. The caller holds mu.
func (o *once) allowed(now time.Time) bool {
	passed := int(now.Sub(o.since) / failureInterval)
	if passed > 0 {
		o.lines = max(0, o.lines-passed)
		o.since = now
	}
	if o.lines >= failureLines {
		return false
	}
	o.lines++
	return true
}

// first reports whether a failure is a new one, and there is room for its line.
func (o *once) first(peer, what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := failureKey{peer, what}
	if o.logged[c] || !o.allowed(time.Now()) {
		return false
	}
	if o.logged == nil || len(o.logged) >= onceMax {
		o.logged = map[failureKey]bool{}
	}
	o.logged[c] = true
	return true
}

// clear drops the failures of a peer, and reports whether there were any.
func (o *once) clear(peer string) (was bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.logged {
		if c.peer == peer {
			delete(o.logged, c)
			was = true
		}
	}
	return was
}

// refuse responds with a refusal, and logs it when it is new.
func (t *Transport) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	from := r.Header.Get(headerFrom)
	level := slog.LevelWarn
	if why.Code == refusedBusy || why.Code == refusedTransfer {
		level = slog.LevelDebug // the sender retries, or fails and logs it
	}
	text := why.detail
	if text == "" {
		text = why.Text
	}
	if len(from) <= 16 && t.refused.first(from, text) {
		t.log.Log(r.Context(), level, "refused a peer", "peer_id", from, "remote", r.RemoteAddr, "reason", why.Code, "error", text)
	}
	why.write(w)
}
