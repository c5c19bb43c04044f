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

// passwordBytesMax is the length that bcrypt uses; it would ignore the rest of a longer password.
const passwordBytesMax = 72

// verifiedMax is the number of verified passwords that a member remembers.
const verifiedMax = 4096

// Gate authenticates users. It checks a password with bcrypt once and then remembers a keyed hash
// of user name and password, together with the user's hash that it matched. The memory of a
// password is therefore invalid as soon as the user's password changes, or the user is deleted and
// created again. Permissions are read from the State at every request.
type Gate struct {
	table   *Table
	cost    int
	rand    io.Reader
	limiter fairLimiter
	tokens  *tokens
	jwt     *JWT // replaces simple tokens unless nil
	// hash and compare are bcrypt's; tests count their calls.
	hash    func(password []byte, cost int) ([]byte, error)
	compare func(hash, password []byte) error
	// unknown is GateConfig.UnknownCommonName
	unknown func(commonName string)

	mu       sync.Mutex
	key      []byte
	verified map[[sha256.Size]byte]string
}

// GateConfig configures a Gate.
type GateConfig struct {
	Cost     int           // of bcrypt, for new passwords
	TokenTTL time.Duration // how long a simple token is valid after its last use
	JWT      *JWT          // replaces simple tokens unless nil
	Slots    int           // maximum number of concurrent password checks
	Now      func() time.Time
	Rand     io.Reader
	// ClusterTime returns the approximate cluster time. It may lag, but advances at the rate of
	// Now.
	ClusterTime func() kv.ClusterTime
	// UnknownCommonName, unless nil, is called for each request of a client with a certificate
	// whose common name is the name of no user.
	UnknownCommonName func(commonName string)
}

// NewGate returns a Gate for the users of a table.
func NewGate(t *Table, c GateConfig) (*Gate, error) {
	g := &Gate{
		table: t, cost: c.Cost, rand: c.Rand, jwt: c.JWT, unknown: c.UnknownCommonName, tokens: newTokens(c.TokenTTL, c.Now, c.ClusterTime),
		hash: bcrypt.GenerateFromPassword, compare: bcrypt.CompareHashAndPassword,
		limiter: fairLimiter{free: max(c.Slots, 1)}, key: make([]byte, sha256.Size), verified: map[[sha256.Size]byte]string{},
	}
	if _, err := io.ReadFull(g.rand, g.key); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return g, nil
}

// State returns the current users and roles.
func (g *Gate) State() *State { return g.table.State() }

// Hash returns the hash of a password, to be stored. It takes as long as a check.
func (g *Gate) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > passwordBytesMax {
		return "", PasswordTooLong
	}
	if err := g.limiter.acquire(ctx, ""); err != nil {
		return "", err
	}
	defer g.limiter.release()
	hash, err := g.hash([]byte(password), g.cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(hash), nil
}

// costMax limits the cost of hashes that clients send in place of a password, since every later
// login has that cost.
const costMax = 16

// Hashed reports whether hash is a valid bcrypt hash.
func Hashed(hash []byte) bool {
	cost, err := bcrypt.Cost(hash)
	return err == nil && cost <= costMax && len(hash) == 60
}

// Password returns nil if a user of the state has the password, and otherwise BadPassword,
// TooManyLogins or the context's error. For a user that does not exist, or has no password, it
// takes as long as for a wrong password, so that the time does not reveal which users exist.
func (g *Gate) Password(ctx context.Context, s *State, name, password string) error {
	if len(password) > passwordBytesMax {
		return BadPassword
	}
	hash := ""
	if u := s.User(name); u != nil {
		hash = u.Hash
	}
	id := g.fingerprint(name, password)
	if hash != "" && g.isVerified(id, hash) {
		return nil
	}
	if err := g.limiter.acquire(ctx, name); err != nil {
		return err
	}
	defer g.limiter.release()
	if hash == "" {
		// takes as long as a comparison
		_, _ = g.hash([]byte(password), g.cost)
		return BadPassword
	}
	if g.isVerified(id, hash) { // verified by another request while this one waited
		return nil
	}
	if g.compare([]byte(hash), []byte(password)) != nil {
		return BadPassword
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for old := range g.verified {
		if len(g.verified) < verifiedMax {
			break
		}
		delete(g.verified, old) // any of them: it will be verified again at its next use
	}
	g.verified[id] = hash
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

func (g *Gate) isVerified(id [sha256.Size]byte, hash string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verified[id] == hash
}

// UnknownCommonName must be called when the common name of a client's certificate is the name of no
// user.
func (g *Gate) UnknownCommonName(commonName string) {
	if g.unknown != nil {
		g.unknown(commonName)
	}
}
