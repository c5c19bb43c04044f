package member

import (
	"context"
	"crypto/rand"
	"runtime"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/auth"
	"cairn/internal/machine"
)

// tokenTTL is how long a token of v3 lives that nobody uses: etcd's --auth-token-ttl.
const tokenTTL = 5 * time.Minute

func newGate(t *auth.Table) (*auth.Gate, error) {
	return auth.NewGate(t, auth.GateConfig{
		Cost: bcrypt.DefaultCost, TokenTTL: tokenTTL, Slots: max(1, runtime.GOMAXPROCS(0)/2), Now: time.Now, Rand: rand.Reader,
	})
}

// Gate tells who somebody is, and what they may do.
func (m *Member) Gate() *auth.Gate { return m.gate }

// ChangeAuth has a command about users and roles applied.
func (m *Member) ChangeAuth(ctx context.Context, c *auth.Command) (auth.Result, error) {
	res, err := m.Propose(ctx, machine.KindAuth, c.Append(nil))
	if err != nil {
		return auth.Result{}, err
	}
	return res.Auth, nil
}

// onBehalf gives a command its actor. What nobody stands for stays as it is; only what the cluster does by itself is
// applied then.
func onBehalf(ctx context.Context, kind machine.Kind, payload []byte) (machine.Kind, []byte) {
	a := auth.ActorOf(ctx)
	if a == nil {
		return kind, payload
	}
	return machine.KindAs, machine.AppendAs(make([]byte, 0, len(payload)+len(a.Name)+16), a, kind, payload)
}
