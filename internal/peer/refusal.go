package peer

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
)

// refusal is why a peer is not served. It goes over the wire as the body of the answer.
type refusal struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Text   string `json:"message"`
	detail string // for the log of the member that refuses
}

func (r *refusal) Error() string { return r.Text }

// The codes of refusals; docs/formats/peer.md says when each is given.
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
		body = nil // of strings alone, so that it cannot happen
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // a peer that has gone will ask again
}

// The texts go over the wire: they name neither the cluster nor the member that refuses.

func clusterMismatch(me, mine, from, theirs uint64) *refusal {
	return &refusal{
		http.StatusPreconditionFailed, refusedCluster,
		"cluster ID mismatch: check --initial-cluster and --initial-cluster-token of both members",
		fmt.Sprintf("cluster ID mismatch: member %016x belongs to cluster %016x, member %016x to cluster %016x", me, mine, from, theirs),
	}
}

func wrongReceiver(me, from, wanted uint64) *refusal {
	return &refusal{
		http.StatusMisdirectedRequest, refusedReceiver,
		"wrong member: another member is at this address; check the peer URLs (member list)",
		fmt.Sprintf("wrong member: member %016x asks for member %016x where member %016x is; check their peer URLs (member list)", from, wanted, me),
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
		fmt.Sprintf("incompatible peer protocol: the receiver speaks version %s, the sender %q; run versions of cairn that are closer to each other", mine, theirs), "",
	}
}

func badRequest(what string) *refusal {
	return &refusal{http.StatusBadRequest, refusedRequest, what, ""}
}

func busy(what string) *refusal {
	return &refusal{http.StatusServiceUnavailable, refusedBusy, what, ""}
}

// onceMax bounds how many different complaints are remembered.
const onceMax = 1024

// complaint is what is wrong with whom.
type complaint struct{ who, what string }

// once logs each complaint about a peer once, until that peer succeeds again.
type once struct {
	mu   sync.Mutex
	said map[complaint]bool
}

// first reports whether a complaint is a new one.
func (o *once) first(who, what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := complaint{who, what}
	if o.said[c] {
		return false
	}
	if o.said == nil || len(o.said) >= onceMax {
		o.said = map[complaint]bool{}
	}
	o.said[c] = true
	return true
}

// settled forgets what was said of somebody, and reports whether there was something.
func (o *once) settled(who string) (was bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.said {
		if c.who == who {
			delete(o.said, c)
			was = true
		}
	}
	return was
}

// refuse answers a request with a refusal, and logs it when it is new.
func (t *Transport) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	from := r.Header.Get(headerFrom)
	level := slog.LevelWarn
	if why.Code == refusedBusy || why.Code == refusedTransfer {
		level = slog.LevelDebug // the sender tries again, or fails and says so
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
