package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// tokenKeyBytes is the length of the key that signs simple tokens.
const tokenKeyBytes = sha256.Size

// Sizes of the parts of a token, and the maximum length of a token.
const (
	nonceBytes    = 12
	tokenBytesMax = 4096
)

// tokenVersion is the prefix of every token.
const tokenVersion = 1

// ticket is the content of a simple token, in plain text; a signature over it follows
// (docs/formats/auth.md).
type ticket struct {
	enabledAt uint64         // State.EnabledAt when the token was issued
	revision  uint64         // of users and roles when the token was issued
	issued    kv.ClusterTime // when the token was issued
	name      string         // of the user
	body      []byte         // the signed part of the token
	mac       []byte
}

// signature covers the user's hash, too: so a token is invalid once the password has changed, or
// the user was deleted and created again.
func signature(key []byte, hash string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(hash)))
	mac.Write(n[:])
	mac.Write([]byte(hash))
	mac.Write(body)
	return mac.Sum(nil)
}

// sign makes a token for a login. The nonce distinguishes tokens that the user gets at the same
// time.
func sign(s *State, name string, issued kv.ClusterTime, nonce []byte) string {
	body := append([]byte{tokenVersion}, nonce...)
	body = binary.AppendUvarint(body, s.EnabledAt)
	body = binary.AppendUvarint(body, s.Revision)
	body = binary.AppendUvarint(body, uint64(issued))
	body = append(body, name...)
	return base64.RawURLEncoding.EncodeToString(append(body, signature(s.tokenKey, s.users[name].Hash, body)...))
}

func parseTicket(token string) (t ticket, ok bool) {
	if len(token) > tokenBytesMax {
		return t, false
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 1+nonceBytes+sha256.Size || b[0] != tokenVersion {
		return t, false
	}
	t.body, t.mac = b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	r := codec.NewReader(t.body[1+nonceBytes:])
	t.enabledAt, t.revision, t.issued = r.Uvarint(), r.Uvarint(), kv.ClusterTime(r.Uvarint())
	t.name = string(r.Rest())
	return t, r.Err() == nil && t.issued >= 0
}

// tokensMax is the number of tokens whose last use a member remembers. A token that was dropped is
// valid for its TTL since it was issued.
const tokensMax = 1 << 17

// tokens has the simple tokens that this member has seen, with their expiry here.
type tokens struct {
	ttl         time.Duration
	now         func() time.Time
	clusterTime func() kv.ClusterTime
	start       time.Time

	mu   sync.RWMutex
	seen map[string]*session
}

// session is a token whose signature was verified.
type session struct {
	name      string
	hash      string // the user's, when the token was issued
	enabledAt uint64
	until     atomic.Int64 // expiry, in nanoseconds since start; ended after a log-out
	signedTo  int64        // until when the token's signature alone would be accepted
}

// ended is the expiry of a token whose user has logged out.
const ended = -1

func newTokens(ttl time.Duration, now func() time.Time, clusterTime func() kv.ClusterTime) *tokens {
	return &tokens{ttl: ttl, now: now, clusterTime: clusterTime, start: now(), seen: map[string]*session{}}
}

// bearer returns the user that a token was issued to, and extends the token's validity.
func (t *tokens) bearer(s *State, token string) (name string, err error) {
	t.mu.RLock()
	known := t.seen[token]
	t.mu.RUnlock()
	now := int64(t.now().Sub(t.start))
	if known == nil {
		if known, err = t.check(s, token, now); err != nil {
			return "", err
		}
	}
	u := s.users[known.name]
	if u == nil || u.Hash != known.hash || s.EnabledAt != known.enabledAt {
		return "", BadToken
	}
	for {
		until := known.until.Load()
		if until < now {
			return "", BadToken
		}
		if until >= now+int64(t.ttl) || known.until.CompareAndSwap(until, now+int64(t.ttl)) {
			return known.name, nil
		}
	}
}

// check verifies a token that this member has not seen yet. Its remaining TTL counts from when it
// was issued, since this member does not know when other members last saw it.
func (t *tokens) check(s *State, token string, now int64) (*session, error) {
	ticket, ok := parseTicket(token)
	switch {
	case !ok:
		return nil, BadToken
	case ticket.revision > s.Revision, ticket.enabledAt == s.EnabledAt && s.tokenKey == nil:
		return nil, TokenAhead
	}
	u := s.users[ticket.name]
	if u == nil || u.Hash == "" || ticket.enabledAt != s.EnabledAt ||
		!hmac.Equal(signature(s.tokenKey, u.Hash, ticket.body), ticket.mac) {
		return nil, BadToken
	}
	age := max(int64(t.clusterTime()-ticket.issued), 0)
	if age > int64(t.ttl) {
		return nil, BadToken
	}
	known := &session{name: ticket.name, hash: u.Hash, enabledAt: s.EnabledAt, signedTo: now + int64(t.ttl) - age}
	known.until.Store(known.signedTo)
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.seen[token]; other != nil {
		return other, nil
	}
	if len(t.seen) >= tokensMax {
		t.sweepLocked(now)
	}
	t.seen[token] = known
	return known, nil
}

// end makes a token invalid on this member.
func (t *tokens) end(s *State, token string) {
	t.mu.RLock()
	known := t.seen[token]
	t.mu.RUnlock()
	if known == nil {
		var err error
		if known, err = t.check(s, token, int64(t.now().Sub(t.start))); err != nil {
			return // it is invalid already
		}
	}
	known.until.Store(ended)
}

// sweepLocked makes room: it drops expired tokens or, if these are few, some of the others, too. A
// token that was ended is kept for as long as its signature would be accepted, and dropped before
// only if there are too many ended ones.
func (t *tokens) sweepLocked(now int64) {
	for token, s := range t.seen {
		if max(s.until.Load(), s.signedTo) < now {
			delete(t.seen, token)
		}
	}
	for _, endedToo := range []bool{false, true} {
		for token, s := range t.seen {
			if len(t.seen) <= tokensMax*3/4 {
				return
			}
			if endedToo || s.until.Load() != ended {
				delete(t.seen, token)
			}
		}
	}
}
