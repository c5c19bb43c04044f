package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// site is a member with respect to tokens: a table, a gate and a clock. All sites apply the same
// commands.
type site struct {
	t     *testing.T
	fs    storage.FS
	db    *storage.Store
	table *Table
	gate  *Gate
	now   time.Time
	time  kv.ClusterTime // its estimate of cluster time
	ttl   time.Duration
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, fs: storage.NewCrashableFS(), now: time.Unix(1000, 0), ttl: time.Minute}
	s.db, s.table = openTable(t, s.fs)
	t.Cleanup(func() { _ = s.db.Close() })
	s.newGate()
	return s
}

func (s *site) newGate() {
	s.t.Helper()
	var err error
	s.gate, err = NewGate(s.table, GateConfig{
		Cost: bcrypt.MinCost, TokenTTL: s.ttl, Slots: 1, Now: func() time.Time { return s.now }, Rand: rand.Reader,
		ClusterTime: func() kv.ClusterTime { return s.time },
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// pass advances the clocks.
func pass(d time.Duration, sites ...*site) {
	for _, s := range sites {
		s.now, s.time = s.now.Add(d), s.time+kv.ClusterTime(d)
	}
}

// log applies a command on all sites, at the time of the first.
func log(c *Command, sites ...*site) (res Result, err error) {
	for i, s := range sites {
		s.t.Helper()
		b := s.db.NewBatch()
		s.table.Begin()
		r, aerr := s.table.Apply(b, sites[0].time, c)
		if i == 0 {
			res, err = r, aerr
		}
		if cerr := errors.Join(b.Commit(false), b.Close()); cerr != nil {
			s.t.Fatal(cerr)
		}
		s.table.Publish()
	}
	return res, err
}

func mustLog(t *testing.T, c *Command, sites ...*site) {
	t.Helper()
	if _, err := log(c, sites...); err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
}

// login logs in at the first site; all sites apply the resulting command.
func login(t *testing.T, name string, sites ...*site) string {
	t.Helper()
	token, err := sites[0].gate.Login(t.Context(), name, "pw", func(_ context.Context, c *Command) (Result, error) { return log(c, sites...) })
	if err != nil {
		t.Fatalf("login of %s: %v", name, err)
	}
	return token
}

func (s *site) wants(token string, want error) {
	s.t.Helper()
	if name, err := s.gate.Bearer(s.gate.State(), token); !errors.Is(err, want) || err == nil && name != RootName {
		s.t.Errorf("token is of %q, %v; want %v", name, err, want)
	}
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// enabled creates root with the password pw and enables authentication.
func enabled(t *testing.T, sites ...*site) {
	t.Helper()
	mustLog(t, &Command{Kind: KindV2UserPut, Name: RootName, Hash: hashOf(t, "pw")}, sites...)
	if _, err := sites[0].gate.Login(t.Context(), RootName, "pw", nil); !errors.Is(err, NotEnabled) {
		t.Errorf("login while authentication is off: %v", err)
	}
	mustLog(t, &Command{Kind: KindEnable, V2: true}, sites...)
}

func TestUseExtendsTokens(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	token := login(t, RootName, s)
	for range 3 { // use extends its validity
		pass(59*time.Second, s)
		s.wants(token, nil)
	}
	pass(61*time.Second, s)
	s.wants(token, BadToken)
	s.wants(token, BadToken) // also at a second use
}

// TestEndedTokens: a token that was ended stays invalid on the member, also one that the member had
// not seen, and when other tokens take its room.
func TestEndedTokens(t *testing.T) {
	a, b := newSite(t), newSite(t)
	enabled(t, a, b)
	token, other := login(t, RootName, a, b), login(t, RootName, a, b)
	a.wants(token, nil)
	for _, s := range []*site{a, b} { // b has not seen the token
		s.gate.EndToken(token)
		s.gate.EndToken("no token")
		s.wants(token, BadToken)
		s.wants(other, nil)
	}
	tokens := a.gate.tokens
	tokens.mu.Lock()
	for i := range tokensMax {
		s := &session{name: RootName}
		s.until.Store(1 << 62)
		tokens.seen[fmt.Sprint(i)] = s
	}
	tokens.sweepLocked(int64(tokens.now().Sub(tokens.start)))
	n := len(tokens.seen)
	tokens.mu.Unlock()
	if n > tokensMax {
		t.Errorf("%d tokens after a sweep", n)
	}
	a.wants(token, BadToken)
	pass(61*time.Second, a)
	a.wants(token, BadToken) // by its age, from now on
	tokens.mu.Lock()
	tokens.sweepLocked(int64(tokens.now().Sub(tokens.start)))
	_, kept := tokens.seen[token]
	tokens.mu.Unlock()
	if kept {
		t.Error("an ended token is kept although it has expired")
	}
}

func TestTokenIsInvalidAfterChanges(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	samePassword := &Command{Kind: KindV3UserPassword, Name: RootName, Hash: hashOf(t, "pw")}
	for name, change := range map[string][]*Command{
		"another hash":         {samePassword},
		"authentication":       {{Kind: KindDisable}, {Kind: KindEnable}},
		"a user created again": {{Kind: KindDisable}, {Kind: KindUserDelete, Name: RootName}, {Kind: KindV2UserPut, Name: RootName, Hash: hashOf(t, "pw")}, {Kind: KindEnable}},
		"no more of a user":    {{Kind: KindDisable}, {Kind: KindUserDelete, Name: RootName}},
	} {
		seen, unseen := login(t, RootName, s), login(t, RootName, s)
		s.wants(seen, nil)
		for _, c := range change {
			mustLog(t, c, s)
		}
		if s.gate.State().Enabled {
			s.wants(seen, BadToken)
			s.wants(unseen, BadToken)
		} else if _, err := s.gate.Bearer(s.gate.State(), unseen); !errors.Is(err, BadToken) {
			t.Errorf("%s: %v", name, err)
		}
		if s.gate.State().User(RootName) == nil {
			mustLog(t, &Command{Kind: KindV2UserPut, Name: RootName, Hash: hashOf(t, "pw")}, s)
		}
		if !s.gate.State().Enabled {
			mustLog(t, &Command{Kind: KindEnable}, s)
		}
	}
	// A token does not depend on its user's permissions, which are looked up at each use.
	token := login(t, RootName, s)
	mustLog(t, &Command{Kind: KindV3RoleAdd, Name: "r"}, s)
	s.wants(token, nil)
}

// TestTokenIsGoodOnAllMembers gets tokens from one member and uses them on the others, also on one
// that has just restarted.
func TestTokenIsGoodOnAllMembers(t *testing.T) {
	a, b := newSite(t), newSite(t)
	enabled(t, a, b)
	token := login(t, RootName, a, b)
	a.wants(token, nil)
	b.wants(token, nil)
	second := login(t, RootName, b, a) // signed with the existing key
	if second == token {
		t.Error("two logins got one token")
	}
	a.wants(second, nil)

	pass(30*time.Second, a, b)
	b.newGate() // restart b
	b.wants(second, nil)
	pass(61*time.Second, a, b)
	b.wants(second, BadToken)

	// Not used here before, the token has only the rest of its TTL since it was issued.
	third := login(t, RootName, a, b)
	pass(61*time.Second, a, b)
	b.wants(third, BadToken)

	// b is behind: the error must say so, because waiting helps.
	mustLog(t, &Command{Kind: KindV3RoleAdd, Name: "r"}, a)
	fourth := login(t, RootName, a)
	b.wants(fourth, TokenAhead)
	mustLog(t, &Command{Kind: KindV3RoleAdd, Name: "r"}, b)
	b.wants(fourth, nil)
}

// TestTokenOfAKeyOnItsWay uses a token on a member that has not applied the first login, which set
// the key.
func TestTokenOfAKeyOnItsWay(t *testing.T) {
	a, b := newSite(t), newSite(t)
	enabled(t, a, b)
	b.wants(login(t, RootName, a), TokenAhead)
}

func TestForgedTokens(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	token := login(t, RootName, s)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			forged := append([]byte(nil), raw...)
			forged[i] ^= 1 << bit
			text := base64.RawURLEncoding.EncodeToString(forged)
			if name, err := s.gate.Bearer(s.gate.State(), text); err == nil {
				t.Fatalf("bit %d of byte %d is changed, and the token is of %q", bit, i, name)
			}
			if text = base64.RawURLEncoding.EncodeToString(raw[:i]); errors.Is(bearerErr(s, text), nil) {
				t.Fatalf("the first %d bytes are a token", i)
			}
		}
	}
	if len(s.gate.tokens.seen) != 0 {
		t.Error("forged tokens are remembered")
	}
	for _, text := range []string{"", "a", ".", "root", string(make([]byte, 1<<20))} {
		s.wants(text, BadToken)
	}
}

func bearerErr(s *site, token string) error {
	_, err := s.gate.Bearer(s.gate.State(), token)
	return err
}

// TestPasswordChangedDuringLogin changes the password after it was verified and before the login is
// applied.
func TestPasswordChangedDuringLogin(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	changed := false
	_, err := s.gate.Login(t.Context(), RootName, "pw", func(_ context.Context, c *Command) (Result, error) {
		if !changed {
			changed = true
			mustLog(t, &Command{Kind: KindV3UserPassword, Name: RootName, Hash: hashOf(t, "other")}, s)
		}
		return log(c, s)
	})
	if !errors.Is(err, BadPassword) {
		t.Errorf("login by the old password: %v", err)
	}
}

// TestEndedTokensAreBounded logs out more often than a member remembers.
func TestEndedTokensAreBounded(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	for i := range tokensMax {
		out := &session{signedTo: 1 << 62}
		out.until.Store(ended)
		s.gate.tokens.seen[fmt.Sprint(i)] = out
	}
	s.wants(login(t, RootName, s), nil)
	if n := len(s.gate.tokens.seen); n > tokensMax {
		t.Errorf("%d tokens are remembered", n)
	}
}

// TestTokensAreSwept fills the cache of tokens.
func TestTokensAreSwept(t *testing.T) {
	s := newSite(t)
	enabled(t, s)
	token := login(t, RootName, s)
	s.wants(token, nil)
	for i := range tokensMax {
		s.gate.tokens.seen[fmt.Sprint(i)] = &session{} // expired long ago
	}
	pass(time.Second, s)
	s.wants(login(t, RootName, s), nil)
	if n := len(s.gate.tokens.seen); n > 2 {
		t.Errorf("%d tokens are remembered", n)
	}
	s.wants(token, nil)
}
