package peer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Without TLS, a member proves its identity by being reachable at the peer URLs that the
// configuration has for it, where it confirms that it has sent the request (docs/adr/0013). So a
// process that can merely reach the peer port is kept out. Only TLS keeps out a process on the path
// between members.

const (
	headerToken     = "Cairn-Token"      // random, from one member to another
	headerTokenHash = "Cairn-Token-Hash" // of a token to be confirmed
	pathConfirm     = "/cairn/peer/confirm"

	tokenBytes      = 32
	lookupEvery     = time.Second // between two look-ups of an unknown sender
	refusedIdentity = "not-confirmed"
)

type tokenHash [sha256.Size]byte

// identities has the tokens that this member has sent, and those that it has confirmed.
type identities struct {
	slots confirmSlots

	mu        sync.Mutex
	sent      map[uint64]string    // by receiver
	confirmed map[uint64]tokenHash // by sender

	lookup   sync.Mutex // held while other members are queried for the list of members
	lookedUp time.Time
	found    map[uint64][]string // the members' URLs in another member's list
}

func newIdentities() identities {
	return identities{sent: map[uint64]string{}, confirmed: map[uint64]tokenHash{}}
}

// token returns the token for requests to a member. It is sent to the member's URLs only, and stays
// the same until the process ends.
func (i *identities) token(to uint64) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	token := i.sent[to]
	if token == "" {
		b := make([]byte, tokenBytes)
		_, _ = rand.Read(b) // never fails
		token = hex.EncodeToString(b)
		i.sent[to] = token
	}
	return token
}

// hasSent reports whether this member has sent a token with the given hash to a member.
func (i *identities) hasSent(to uint64, hash string) bool {
	i.mu.Lock()
	token := i.sent[to]
	i.mu.Unlock()
	own := sha256.Sum256([]byte(token))
	return token != "" && subtle.ConstantTimeCompare([]byte(hex.EncodeToString(own[:])), []byte(hash)) == 1
}

// knows reports whether a sender's token was confirmed before.
func (i *identities) knows(from uint64, hash tokenHash) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	known, ok := i.confirmed[from]
	return ok && subtle.ConstantTimeCompare(known[:], hash[:]) == 1
}

func (i *identities) learn(from uint64, hash tokenHash) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.confirmed[from] = hash
}

// forget drops the tokens of members that are no longer peers.
func (i *identities) forget(keep func(id uint64) bool) {
	i.slots.forget(keep)
	i.mu.Lock()
	defer i.mu.Unlock()
	for id := range i.confirmed {
		if !keep(id) {
			delete(i.confirmed, id)
		}
	}
}

// serveConfirm confirms to another member that a request that it received is from this member.
func (t *Transport) serveConfirm(w http.ResponseWriter, r *http.Request) {
	from, ok := parseID(r.Header.Get(headerFrom))
	if !ok || r.Header.Get(headerTo) != formatID(t.cfg.MemberID) || r.Header.Get(headerCluster) != formatID(t.cfg.ClusterID) ||
		!t.identities.hasSent(from, r.Header.Get(headerTokenHash)) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// confirm checks that a request is from the member that it names.
func (t *Transport) confirm(r *http.Request, from uint64) *refusal {
	token := r.Header.Get(headerToken)
	hash := tokenHash(sha256.Sum256([]byte(token)))
	if token != "" && t.identities.knows(from, hash) {
		return nil
	}
	ctx, cancel := t.waitAtMost(r.Context(), t.cfg.Limits.ConnectTimeout)
	defer cancel()
	sender := uint64(0)
	if (*t.peers.Load())[from] != nil {
		sender = from
	}
	slots := t.identities.slots.of(sender)
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return busy("too many senders are being confirmed")
	}
	urls, known := t.urlsOf(ctx, from)
	if !known {
		return notConfirmed(fmt.Sprintf("member %016x is not in the cluster's configuration", from))
	}
	var failures error
	for _, u := range urls {
		err := t.requestConfirmation(ctx, u, from, hash, token == "")
		if err == nil {
			if token != "" {
				t.identities.learn(from, hash)
			}
			return nil
		}
		failures = errors.Join(failures, fmt.Errorf("%s: %w", u, err))
	}
	return notConfirmed(fmt.Sprintf("member %016x does not confirm at its peer URLs that it has sent the request: %v", from, failures))
}

// requestConfirmation asks a member, at one of its URLs, whether it has sent a token. A member of
// version 0.1.0 sends none and does not support the request: it is accepted without confirmation
// until it is upgraded.
func (t *Transport) requestConfirmation(ctx context.Context, u *url.URL, of uint64, hash tokenHash, none bool) error {
	client, over := t.callers.of(u)
	over.Path = pathConfirm
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, over.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set(headerCluster, formatID(t.cfg.ClusterID))
	req.Header.Set(headerFrom, formatID(t.cfg.MemberID))
	req.Header.Set(headerTo, formatID(of))
	req.Header.Set(headerTokenHash, hex.EncodeToString(hash[:]))
	resp, err := client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, refusalBytesMax)
	switch {
	case resp.StatusCode == http.StatusNoContent && !none:
		return nil
	case resp.StatusCode == http.StatusNotFound && none:
		return nil
	}
	return fmt.Errorf("it responds with %s", resp.Status)
}

// urlsOf returns the peer URLs of a member. A member that was away may not have a new member in its
// own list: then it queries the members that it has, at their URLs.
func (t *Transport) urlsOf(ctx context.Context, id uint64) (urls []*url.URL, known bool) {
	peers := *t.peers.Load()
	if p := peers[id]; p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.urls, true
	}
	i := &t.identities
	i.lookup.Lock()
	defer i.lookup.Unlock()
	if time.Since(i.lookedUp) >= lookupEvery {
		i.found = map[uint64][]string{}
		for _, p := range peers {
			p.mu.Lock()
			var at []string
			for _, u := range p.urls {
				at = append(at, u.String())
			}
			p.mu.Unlock()
			cluster, members, err := FetchCluster(ctx, at, t.cfg.TLS)
			if err != nil || cluster != t.cfg.ClusterID {
				continue
			}
			for _, m := range members {
				i.found[m.ID] = m.PeerURLs
			}
		}
		i.lookedUp = time.Now()
	}
	texts, known := i.found[id]
	return t.usable(Peer{id, texts}), known
}

// notConfirmed returns the refusal of a sender that is not known to be a member. The detail is not
// sent to the sender.
func notConfirmed(detail string) *refusal {
	return &refusal{Status: http.StatusForbidden, Code: refusedIdentity, Text: "the sender is not confirmed as a member", detail: detail}
}
