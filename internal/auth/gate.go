package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// passwordBytesMax is what bcrypt looks at; a longer password would be as good as its beginning.
const passwordBytesMax = 72

// Limits of what a member remembers of those who have logged in.
const (
	provenMax = 4096
	tokensMax = 1 << 17
)

// Gate finds out who somebody is. A password is checked once; what is remembered is a keyed hash of it with the
// user's name, and the user's hash that it was good for. So it is worth nothing as soon as the user has another
// password, or is made anew, and what the user may do is read from the State every time.
type Gate struct {
	table *Table
	cost  int
	ttl   time.Duration
	now   func() time.Time
	rand  io.Reader
	// slots bound how many passwords are checked at a time, so that those who log in leave room for the rest.
	slots chan struct{}

	mu     sync.Mutex
	key    []byte
	proven map[[sha256.Size]byte]string
	tokens map[string]*session
}

// session is one token.
type session struct {
	name      string
	hash      string // the user's when the token was given out
	enabledAt uint64
	until     time.Time
}

// GateConfig says how a Gate works.
type GateConfig struct {
	Cost     int           // of bcrypt, for new passwords
	TokenTTL time.Duration // how long a token that nobody uses is good
	Slots    int           // passwords to check at a time
	Now      func() time.Time
	Rand     io.Reader
}

// NewGate returns the gate to a table.
func NewGate(t *Table, c GateConfig) (*Gate, error) {
	g := &Gate{
		table: t, cost: c.Cost, ttl: c.TokenTTL, now: c.Now, rand: c.Rand,
		slots: make(chan struct{}, max(c.Slots, 1)), key: make([]byte, sha256.Size),
		proven: map[[sha256.Size]byte]string{}, tokens: map[string]*session{},
	}
	if _, err := io.ReadFull(g.rand, g.key); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return g, nil
}

// State returns the users and roles as of now.
func (g *Gate) State() *State { return g.table.State() }

// Hash returns the hash to keep of a password. It takes as long as a check.
func (g *Gate) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > passwordBytesMax {
		return "", PasswordTooLong
	}
	if err := g.enter(ctx); err != nil {
		return "", err
	}
	defer g.leave()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), g.cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(hash), nil
}

func (g *Gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Gate) leave() { <-g.slots }

// Password returns nil when a user of the state has the password, and otherwise BadPassword or the context's error.
func (g *Gate) Password(ctx context.Context, s *State, name, password string) error {
	u := s.User(name)
	if u == nil || u.Hash == "" || len(password) > passwordBytesMax {
		return BadPassword
	}
	id := g.fingerprint(name, password)
	if g.isProven(id, u.Hash) {
		return nil
	}
	if err := g.enter(ctx); err != nil {
		return err
	}
	defer g.leave()
	if g.isProven(id, u.Hash) { // by another request that came with it
		return nil
	}
	if bcrypt.CompareHashAndPassword([]byte(u.Hash), []byte(password)) != nil {
		return BadPassword
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for old := range g.proven {
		if len(g.proven) < provenMax {
			break
		}
		delete(g.proven, old) // any: it is checked again when it comes again
	}
	g.proven[id] = u.Hash
	return nil
}

func (g *Gate) fingerprint(name, password string) (id [sha256.Size]byte) {
	mac := hmac.New(sha256.New, g.key)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	mac.Write(n[:])
	mac.Write([]byte(name))
	mac.Write([]byte(password))
	mac.Sum(id[:0])
	return id
}

func (g *Gate) isProven(id [sha256.Size]byte, hash string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proven[id] == hash
}

// Login gives out a token to who knows a user's password.
func (g *Gate) Login(ctx context.Context, name, password string) (token string, err error) {
	s := g.State()
	if !s.Enabled {
		return "", NotEnabled
	}
	if err := g.Password(ctx, s, name, password); err != nil {
		return "", err
	}
	var b [24]byte
	if _, err := io.ReadFull(g.rand, b[:]); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	token = base64.RawURLEncoding.EncodeToString(b[:])
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) >= tokensMax {
		g.sweepLocked()
	}
	g.tokens[token] = &session{name: name, hash: s.User(name).Hash, enabledAt: s.EnabledAt, until: g.now().Add(g.ttl)}
	return token, nil
}

// sweepLocked makes room: it drops the tokens that have lapsed or, when none has, some of the others.
func (g *Gate) sweepLocked() {
	now := g.now()
	for token, s := range g.tokens {
		if s.until.Before(now) {
			delete(g.tokens, token)
		}
	}
	for token := range g.tokens {
		if len(g.tokens) < tokensMax {
			return
		}
		delete(g.tokens, token)
	}
}

// Bearer returns the user of the state that a token was given to; using it renews it. The token is worth nothing any
// more when the user has another password, or authentication was off in between.
func (g *Gate) Bearer(s *State, token string) (name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tokens[token]
	if t == nil {
		return "", BadToken
	}
	now := g.now()
	if u := s.User(t.name); u == nil || u.Hash != t.hash || t.enabledAt != s.EnabledAt || t.until.Before(now) {
		if s == g.State() { // an older state does not know tokens that are newer
			delete(g.tokens, token)
		}
		return "", BadToken
	}
	t.until = now.Add(g.ttl)
	return t.name, nil
}
