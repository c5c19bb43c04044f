package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/kv"
)

// passwordBytesMax is what bcrypt looks at; a longer password would be as good as its beginning.
const passwordBytesMax = 72

// provenMax is how many passwords a member remembers that were right.
const provenMax = 4096

// Gate finds out who somebody is. A password is checked once; what is remembered is a keyed hash of
// it with the user's name, and the user's hash that it was good for. So it is worth nothing as soon
// as the user's password changes, or the user is deleted and created again, and what the user may
// do is read from the State every time.
type Gate struct {
	table  *Table
	cost   int
	rand   io.Reader
	turns  turns
	tokens *tokens
	jwt    *JWT // instead of tokens, or nil

	mu     sync.Mutex
	key    []byte
	proven map[[sha256.Size]byte]string
}

// GateConfig says how a Gate works.
type GateConfig struct {
	Cost     int           // of bcrypt, for new passwords
	TokenTTL time.Duration // how long a simple token that nobody uses is good
	JWT      *JWT          // gives out and knows tokens instead of simple ones, if not nil
	Slots    int           // passwords to check at a time
	Now      func() time.Time
	Rand     io.Reader
	// ClusterTime returns about what cluster time it is. What it says may be late, and is as of Now
	// otherwise.
	ClusterTime func() kv.ClusterTime
}

// NewGate returns the gate to a table.
func NewGate(t *Table, c GateConfig) (*Gate, error) {
	g := &Gate{
		table: t, cost: c.Cost, rand: c.Rand, jwt: c.JWT, tokens: newTokens(c.TokenTTL, c.Now, c.ClusterTime),
		turns: turns{free: max(c.Slots, 1)}, key: make([]byte, sha256.Size), proven: map[[sha256.Size]byte]string{},
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
	if err := g.turns.enter(ctx, ""); err != nil {
		return "", err
	}
	defer g.turns.leave()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), g.cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(hash), nil
}

// costMax bounds what a client may ask of every later login by sending a hash in place of a
// password.
const costMax = 16

// Hashed reports whether something is a hash that passwords can be checked against.
func Hashed(hash []byte) bool {
	cost, err := bcrypt.Cost(hash)
	return err == nil && cost <= costMax && len(hash) == 60
}

// Password returns nil if a user of the state has the password, and otherwise BadPassword,
// TooManyLogins or the context's error. A user that does not exist, or has no password, takes as
// long as a wrong password does, so that the time does not tell which users exist.
func (g *Gate) Password(ctx context.Context, s *State, name, password string) error {
	if len(password) > passwordBytesMax {
		return BadPassword
	}
	hash := ""
	if u := s.User(name); u != nil {
		hash = u.Hash
	}
	id := g.fingerprint(name, password)
	if hash != "" && g.isProven(id, hash) {
		return nil
	}
	if err := g.turns.enter(ctx, name); err != nil {
		return err
	}
	defer g.turns.leave()
	if hash == "" {
		// takes as long as a comparison
		_, _ = bcrypt.GenerateFromPassword([]byte(password), g.cost)
		return BadPassword
	}
	if g.isProven(id, hash) { // by another request that waited with this one
		return nil
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
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
	g.proven[id] = hash
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
