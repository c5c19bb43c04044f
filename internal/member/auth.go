package member

import (
	"cmp"
	"context"
	"crypto/rand"
	"runtime"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/auth"
	"cairn/internal/machine"
	"cairn/internal/membership"
)

// AuthConfig says how passwords are kept and tokens given out. What is zero is as etcd has it by
// default.
type AuthConfig struct {
	BcryptCost int           // of the hashes of new passwords
	TokenTTL   time.Duration // of a simple token that nobody uses
	JWT        *auth.JWT     // in place of simple tokens, or nil
}

const defaultTokenTTL = 5 * time.Minute

func (m *Member) newGate(c AuthConfig) (*auth.Gate, error) {
	return auth.NewGate(m.machine.Auth(), auth.GateConfig{
		Cost: cmp.Or(c.BcryptCost, bcrypt.DefaultCost), TokenTTL: cmp.Or(c.TokenTTL, defaultTokenTTL), JWT: c.JWT,
		Slots: max(1, runtime.GOMAXPROCS(0)/2), Now: time.Now, Rand: rand.Reader, ClusterTime: m.ClusterTime,
	})
}

// Login gives out a token to who knows a user's password, as of now: also where the user was made,
// or got the password, by another member a moment ago.
func (m *Member) Login(ctx context.Context, name, password string) (token string, err error) {
	if err := m.WaitLinearizable(ctx); err != nil {
		return "", err
	}
	return m.gate.Login(ctx, name, password, m.ChangeAuth)
}

// Gate tells who somebody is, and what they may do.
func (m *Member) Gate() *auth.Gate { return m.gate }

// ChangeAuth has a command about users and roles applied.
func (m *Member) ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error) {
	c.MovesAlways = !membership.KnowStillChanges(m.Members())
	res, err := m.Propose(ctx, machine.KindAuth, c.Append(nil))
	if err != nil {
		return auth.Result{}, err
	}
	return res.Auth, nil
}

// onBehalf gives a command its actor. What nobody stands for stays as it is; only what the cluster
// does by itself is applied then.
func onBehalf(ctx context.Context, kind machine.Kind, payload []byte) (machine.Kind, []byte) {
	a := auth.ActorOf(ctx)
	if a == nil {
		return kind, payload
	}
	return machine.KindAs, machine.AppendAs(make([]byte, 0, len(payload)+len(a.Name)+16), a, kind, payload)
}
