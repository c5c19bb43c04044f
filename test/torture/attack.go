package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
)

// attack is one thing that strangers do to a cluster beside the clients of a bout, again and again.
// once does it to one member; what it returns is a violation.
type attack struct {
	name string
	once func(ctx context.Context, a *attacker, m *fleet.Member) error
}

// attacks are those of each group of -attack. Peer attacks come from a process that is no member,
// and must change nothing. Requests come from a user with write permission below chaosPrefix only.
var attacks = map[string][]attack{
	"peer":     peerAttacks,
	"requests": requestAttacks,
}

// attacker repeats one attack.
type attacker struct {
	attack
	b     *bout
	rng   *rand.Rand
	done  *atomic.Int64
	token string // of the user fuzz, "" before it was asked for

	asked time.Time // when the token was asked for
	conns map[*fleet.Member]*rawConn
}

// attackPatience bounds one attack.
const attackPatience = time.Second

// attackers are all of a bout.
type attackers struct {
	b    *bout
	stop context.CancelFunc
	wg   sync.WaitGroup
	done map[string]*atomic.Int64
}

// groups returns the groups of attacks that were asked for.
func (c *config) groups() (groups []string) {
	for _, g := range strings.Split(c.attack, ",") {
		if g != "" {
			groups = append(groups, g)
		}
	}
	return groups
}

// strangers is how many attackers there are of each kind.
const strangers = 2

// startAttacks begins the attacks on a cluster.
func (b *bout) startAttacks(ctx context.Context) *attackers {
	ctx, stop := context.WithCancel(ctx)
	all := &attackers{b: b, stop: stop, done: map[string]*atomic.Int64{}}
	n := 0
	for _, group := range b.cfg.groups() {
		for _, kind := range attacks[group] {
			all.done[kind.name] = new(atomic.Int64)
			for range strangers {
				n++
				a := &attacker{attack: kind, b: b, rng: newRand(b.seed, 1000+n), done: all.done[kind.name], conns: map[*fleet.Member]*rawConn{}}
				all.wg.Go(func() { a.run(ctx) })
			}
		}
	}
	return all
}

func (a *attacker) run(ctx context.Context) {
	defer a.close()
	for sleep(ctx, time.Duration(a.rng.Int64N(int64(2*a.b.cfg.attackPause)+1))) {
		members := a.b.fleet.Members()
		m := members[a.rng.IntN(len(members))]
		one, cancel := context.WithTimeout(ctx, attackPatience)
		err := a.once(one, a, m)
		cancel()
		a.done.Add(1)
		if err != nil {
			a.b.violation("%s of %s: %v", a.name, m.Name, err)
		}
	}
}

// end ends the attacks, and returns how often each was made.
func (all *attackers) end() string {
	all.stop()
	all.wg.Wait()
	var parts []string
	for _, group := range all.b.cfg.groups() {
		for _, kind := range attacks[group] {
			parts = append(parts, fmt.Sprintf("%s %d", kind.name, all.done[kind.name].Load()))
		}
	}
	return strings.Join(parts, ", ")
}

// The user fuzz may read everything and write what begins with chaosPrefix, and the directory of v2
// above it.
const (
	chaosDir      = "/chaos"
	chaosPrefix   = "/chaos/"
	rootPassword  = "correct horse"
	chaosUser     = "fuzz"
	chaosPassword = "battery staple"
)

func foreignKey(key string) bool { return key == chaosDir || strings.HasPrefix(key, chaosPrefix) }

// protect turns authentication on: the clients of the bout are root, attackers are the user fuzz.
func (b *bout) protect(ctx context.Context) error {
	c, err := b.fleet.Connect(b.fleet.Members()...)
	if err != nil {
		return err
	}
	defer c.Close()
	permissions := []struct {
		key, end string
		kind     clientv3.PermissionType
	}{
		{"\x00", "\x00", clientv3.PermissionType(clientv3.PermRead)},
		{chaosPrefix, clientv3.GetPrefixRangeEnd(chaosPrefix), clientv3.PermissionType(clientv3.PermReadWrite)},
		{chaosDir, "", clientv3.PermissionType(clientv3.PermReadWrite)},
	}
	steps := []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", rootPassword); return err },
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, chaosUser, chaosPassword); return err },
		func() error { _, err := c.RoleAdd(ctx, chaosUser); return err },
		func() error { _, err := c.UserGrantRole(ctx, chaosUser, chaosUser); return err },
	}
	for _, p := range permissions {
		steps = append(steps, func() error { _, err := c.RoleGrantPermission(ctx, chaosUser, p.key, p.end, p.kind); return err })
	}
	steps = append(steps, func() error { _, err := c.AuthEnable(ctx); return err })
	for _, do := range steps {
		if err := do(); err != nil {
			return fmt.Errorf("turn authentication on: %w", err)
		}
	}
	b.fleet.Authenticate("root", rootPassword)
	return nil
}

// sweepChaos removes what attackers have left, so that nothing with a TTL is waited for.
func (b *bout) sweepChaos(ctx context.Context) error {
	_, _, err := b.fleet.Members()[0].Do(ctx, "DELETE", "/v2/keys"+chaosDir+"?recursive=true", "")
	if err == nil {
		_, err = b.clients[0].Delete(ctx, chaosDir, clientv3.WithRange(clientv3.GetPrefixRangeEnd(chaosPrefix)))
	}
	if err != nil {
		return fmt.Errorf("remove the keys of the attackers: %w", err)
	}
	return nil
}

// checkLogs reports panics that a member has survived.
func (b *bout) checkLogs() error {
	for _, m := range b.fleet.Members() {
		text, err := os.ReadFile(m.LogFile())
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "panic") || strings.Contains(line, "fatal error") {
				b.violation("%s logged: %s", m.Name, strings.TrimSpace(line))
				break
			}
		}
	}
	return nil
}
