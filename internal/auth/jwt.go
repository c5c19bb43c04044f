package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTOptions are the options in --auth-token=jwt,…, as in etcd.
type JWTOptions struct {
	Method    string // sign-method: RS256, ES384, EdDSA, …
	PublicKey string // pub-key: a file in PEM; by default derived from the private key
	// priv-key: a file in PEM or, for HS methods, of any bytes; without it no tokens are issued
	PrivateKey string
	TTL        time.Duration
}

// JWT issues and verifies JSON web tokens. They have etcd's claims: username, revision, and exp. A
// token is valid at one revision of users and roles; after any change clients log in again.
type JWT struct {
	method jwt.SigningMethod
	sign   any // nil: this member only verifies tokens
	verify any
	ttl    time.Duration
	now    func() time.Time
	parser *jwt.Parser

	mu   sync.Mutex
	seen map[string]*claims // tokens whose signature was verified
}

// claims are the claims of a token.
type claims struct {
	Username string `json:"username"`
	Revision uint64 `json:"revision"`
	jwt.RegisteredClaims
}

// jwtSeenMax is the number of tokens whose verified signature is remembered.
const jwtSeenMax = 1 << 14

// NewJWT reads the keys. Its errors name the option and the file.
func NewJWT(o JWTOptions, now func() time.Time, readFile func(string) ([]byte, error)) (*JWT, error) {
	method := jwt.GetSigningMethod(o.Method)
	if method == nil || o.Method == "none" {
		return nil, fmt.Errorf("sign-method=%s: is not known: want RS256, RS384, RS512, PS256, …, ES256, …, EdDSA, HS256, …", o.Method)
	}
	j := &JWT{method: method, ttl: o.TTL, now: now, seen: map[string]*claims{}}
	j.parser = jwt.NewParser(jwt.WithValidMethods([]string{o.Method}), jwt.WithTimeFunc(now))
	if o.PrivateKey == "" && o.PublicKey == "" {
		return nil, fmt.Errorf("sign-method=%s: needs a key: add priv-key=FILE, or pub-key=FILE to check tokens only", o.Method)
	}
	if err := j.readPrivate(o, readFile); err != nil {
		return nil, err
	}
	if err := j.readPublic(o, readFile); err != nil {
		return nil, err
	}
	if j.sign == nil {
		return j, nil
	}
	// A pair that does not belong together would be found at the first login.
	text, err := jwt.New(method).SignedString(j.sign)
	if err != nil {
		return nil, fmt.Errorf("priv-key=%s: cannot sign by %s: %w", o.PrivateKey, o.Method, err)
	}
	if _, err := j.parser.Parse(text, j.key); err != nil {
		return nil, fmt.Errorf("pub-key=%s: is not the public key of priv-key=%s", o.PublicKey, o.PrivateKey)
	}
	return j, nil
}

func (j *JWT) readPrivate(o JWTOptions, readFile func(string) ([]byte, error)) error {
	if o.PrivateKey == "" {
		return nil
	}
	data, err := readFile(o.PrivateKey)
	if err != nil {
		return fmt.Errorf("priv-key=%s: %w", o.PrivateKey, err)
	}
	switch j.method.(type) {
	case *jwt.SigningMethodHMAC:
		if len(data) == 0 {
			err = errors.New("is empty")
		}
		j.sign, j.verify = data, data
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		var key *rsa.PrivateKey
		if key, err = jwt.ParseRSAPrivateKeyFromPEM(data); err == nil {
			j.sign, j.verify = key, &key.PublicKey
		}
	case *jwt.SigningMethodECDSA:
		var key *ecdsa.PrivateKey
		if key, err = jwt.ParseECPrivateKeyFromPEM(data); err == nil {
			j.sign, j.verify = key, &key.PublicKey
		}
	default:
		var key crypto.PrivateKey
		if key, err = jwt.ParseEdPrivateKeyFromPEM(data); err == nil {
			j.sign, j.verify = key, key.(ed25519.PrivateKey).Public()
		}
	}
	if err != nil {
		return fmt.Errorf("priv-key=%s: is no private key for %s: %w", o.PrivateKey, o.Method, err)
	}
	return nil
}

func (j *JWT) readPublic(o JWTOptions, readFile func(string) ([]byte, error)) error {
	if o.PublicKey == "" {
		return nil
	}
	data, err := readFile(o.PublicKey)
	if err != nil {
		return fmt.Errorf("pub-key=%s: %w", o.PublicKey, err)
	}
	switch j.method.(type) {
	case *jwt.SigningMethodHMAC:
		return fmt.Errorf("pub-key=%s: %s has one key for both, and it is secret: want priv-key=FILE alone", o.PublicKey, o.Method)
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		j.verify, err = jwt.ParseRSAPublicKeyFromPEM(data)
	case *jwt.SigningMethodECDSA:
		j.verify, err = jwt.ParseECPublicKeyFromPEM(data)
	default:
		j.verify, err = jwt.ParseEdPublicKeyFromPEM(data)
	}
	if err != nil {
		return fmt.Errorf("pub-key=%s: is no public key for %s: %w", o.PublicKey, o.Method, err)
	}
	return nil
}

func (j *JWT) key(*jwt.Token) (any, error) { return j.verify, nil }

// issue issues a token for a user as of a state.
func (j *JWT) issue(s *State, name string) (string, error) {
	if j.sign == nil {
		return "", VerifyOnly
	}
	c := claims{Username: name, Revision: s.Revision}
	c.ExpiresAt = jwt.NewNumericDate(j.now().Add(j.ttl))
	token, err := jwt.NewWithClaims(j.method, &c).SignedString(j.sign)
	if err != nil {
		return "", fmt.Errorf("sign token by %s: %w", j.method.Alg(), err)
	}
	return token, nil
}

// bearer implements Gate.Bearer.
func (j *JWT) bearer(s *State, token string) (name string, err error) {
	c, err := j.check(token)
	switch {
	case err != nil:
		return "", BadToken
	case c.ExpiresAt != nil && !j.now().Before(c.ExpiresAt.Time):
		j.forget(token)
		return "", BadToken
	case c.Revision > s.Revision:
		return "", TokenAhead
	case c.Revision < s.Revision:
		return "", OldRevision
	case s.User(c.Username) == nil:
		return "", BadToken
	}
	return c.Username, nil
}

// check returns the claims of a token whose signature is valid.
func (j *JWT) check(token string) (*claims, error) {
	if len(token) > tokenBytesMax {
		return nil, BadToken
	}
	j.mu.Lock()
	c := j.seen[token]
	j.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c = &claims{}
	if _, err := j.parser.ParseWithClaims(token, c, j.key); err != nil || c.Username == "" {
		return nil, BadToken
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for old := range j.seen {
		if len(j.seen) < jwtSeenMax {
			break
		}
		delete(j.seen, old) // any of them: its signature will be verified again at its next use
	}
	j.seen[strings.Clone(token)] = c
	return c, nil
}

func (j *JWT) forget(token string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.seen, token)
}
