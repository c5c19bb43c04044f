package member

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/throttle"
)

// AuthConfig configures passwords and tokens. A zero field means etcd's default.
type AuthConfig struct {
	BcryptCost int           // of the hashes of new passwords
	TokenTTL   time.Duration // of a simple token since its last use
	JWT        *auth.JWT     // replaces simple tokens unless nil
}

const defaultTokenTTL = 5 * time.Minute

// newGate returns the gate of a member.
func newGate(c AuthConfig, users *auth.Table, clusterTime func() kv.ClusterTime, log *slog.Logger) (*auth.Gate, error) {
	unknown := throttle.New(time.Minute, time.Now)
	return auth.NewGate(users, auth.GateConfig{
		Cost: cmp.Or(c.BcryptCost, bcrypt.DefaultCost), TokenTTL: cmp.Or(c.TokenTTL, defaultTokenTTL), JWT: c.JWT,
		Slots: max(1, runtime.GOMAXPROCS(0)/2), Now: time.Now, Rand: rand.Reader, ClusterTime: clusterTime,
		UnknownCommonName: func(name string) {
			unknown.Warn(log, name, "the common name of a client's certificate is the name of no user",
				"common_name", name, "want", "a user with this name, or a certificate for another user")
		},
	})
}

// Access has the users, roles and tokens of a member.
type Access struct {
	gate   *auth.Gate
	member accessMember
}

// accessMember is the part of the member that Access needs.
type accessMember interface {
	Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
	WaitLinearizable(ctx context.Context) error
	Members() []membership.Member
}

// Gate returns the Gate that authenticates users and checks their permissions.
func (a *Access) Gate() *auth.Gate { return a.gate }

// Login returns a token for a user and password. It sees every user and password that any member
// acknowledged before the call.
func (a *Access) Login(ctx context.Context, name, password string) (token string, err error) {
	if err := a.member.WaitLinearizable(ctx); err != nil {
		return "", err
	}
	return a.gate.Login(ctx, name, password, a.ChangeAuth)
}

// ChangeAuth proposes a command about users and roles, and returns its result.
func (a *Access) ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error) {
	c.MovesAlways = !membership.KnowStillChanges(a.member.Members())
	res, err := a.member.Propose(ctx, machine.KindAuth, c.Append(nil))
	if err != nil {
		return auth.Result{}, err
	}
	return res.Auth, nil
}

// onBehalf adds the actor of a context to a command. A command without an actor stays as it is: the
// state machine then applies it only if it is of a kind that the cluster itself proposes.
func onBehalf(ctx context.Context, kind machine.Kind, payload []byte) (machine.Kind, []byte) {
	a := auth.ActorOf(ctx)
	if a == nil {
		return kind, payload
	}
	return machine.KindAs, machine.AppendAs(make([]byte, 0, len(payload)+len(a.Name)+16), a, kind, payload)
}
