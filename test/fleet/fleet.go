// Package fleet runs clusters of real processes for tests: it starts members, kills, pauses, adds,
// replaces and removes them, and has proxies between them that cut or delay their connections.
//
// It owns the processes, their directories and the proxies in front of their peer ports. It does
// not know the correct responses of a member; tests (test/cluster) and the torture program
// (test/torture) do.
//
// Invariants: every started process has ended when Close returns; a member keeps its addresses over
// restarts.
//
// Concurrency: a Fleet's methods may be called concurrently, but one member is started and ended by
// one goroutine at a time.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"cairn/internal/membership"
	"cairn/test/process"
)

// Hosts are the machines that members run on, instead of this machine's loopback device.
type Hosts interface {
	// Address returns the IP address of the n-th host, from 1 on.
	Address(n int) string
	// Start starts a command on the n-th host.
	Start(n int, cmd *exec.Cmd) error
	// Dial connects to a host.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Config configures a fleet.
type Config struct {
	// Program is etcd's path.
	Program string
	// Dir is the directory for the members' data and logs.
	Dir string
	// Flags are given to every member, in addition to those of its addresses and its bootstrap.
	Flags []string
	// Proxied puts a proxy in front of every peer port; see Wire.
	Proxied bool
	// Hosts may be nil.
	Hosts Hosts
}

// Fleet is a cluster of processes.
type Fleet struct {
	cfg  Config
	net  string // the first three numbers of the loopback addresses
	wire *Wire

	mu      sync.Mutex
	members []*Member // guarded by mu: those of the cluster, in the order of their addition
	all     []*Member // guarded by mu: including removed ones
	numbers int       // guarded by mu: number of hosts assigned so far
	user    string    // guarded by mu: of requests and clients, "" without authentication
	secret  string    // guarded by mu: the user's password

	onCreate func(*Member)
}

// New makes a fleet without members.
func New(cfg Config) *Fleet {
	return &Fleet{
		cfg: cfg, wire: newWire(),
		// Every fleet has its own loopback addresses, so that two concurrent ones do not take each
		// other's ports.
		net: fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256)),
	}
}

// Wire returns the rules of the proxies between the members.
func (f *Fleet) Wire() *Wire { return f.wire }

// OnCreate sets a function that is called with every member before its first start.
func (f *Fleet) OnCreate(do func(*Member)) { f.onCreate = do }

// Authenticate makes clients and requests from now on those of a user.
func (f *Fleet) Authenticate(user, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user, f.secret = user, password
}

// Credentials returns what Authenticate was called with; the user is "" before.
func (f *Fleet) Credentials() (user, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.user, f.secret
}

// Members returns the members of the cluster, running or not.
func (f *Fleet) Members() []*Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Member(nil), f.members...)
}

// Running returns the members whose processes run, including paused ones.
func (f *Fleet) Running() (running []*Member) {
	for _, m := range f.Members() {
		if m.Running() {
			running = append(running, m)
		}
	}
	return running
}

// Bootstrap starts a cluster of n members and waits until all of them are healthy.
func (f *Fleet) Bootstrap(ctx context.Context, n int) error {
	founders := make([]*Member, n)
	for i := range founders {
		m, err := f.newMember()
		if err != nil {
			return err
		}
		m.id.Store(membership.MemberID([]string{m.PeerURL()}, process.FleetToken))
		founders[i] = m
	}
	f.join(founders...)
	for _, m := range founders {
		m.bootstrap = bootstrap{cluster: f.initialCluster(), state: "new"}
		if err := m.Start(); err != nil {
			return err
		}
	}
	return f.AwaitHealthy(ctx)
}

// join adds members to the fleet's list.
func (f *Fleet) join(members ...*Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, members...)
	f.all = append(f.all, members...)
}

// leave removes a member from the fleet's list.
func (f *Fleet) leave(gone *Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, m := range f.members {
		if m == gone {
			f.members = append(f.members[:i:i], f.members[i+1:]...)
			return
		}
	}
}

func (f *Fleet) initialCluster() string {
	var parts []string
	for _, m := range f.Members() {
		parts = append(parts, m.Name+"="+m.PeerURL())
	}
	return strings.Join(parts, ",")
}

// AwaitHealthy waits until every running member reports healthy.
func (f *Fleet) AwaitHealthy(ctx context.Context) error {
	for _, m := range f.Running() {
		if err := m.AwaitHealthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close kills every process and closes every proxy.
func (f *Fleet) Close() error {
	f.mu.Lock()
	all := f.all
	f.mu.Unlock()
	var errs []error
	for _, m := range all {
		errs = append(errs, m.Kill())
		if m.proxy != nil {
			m.proxy.close()
		}
	}
	return errors.Join(errs...)
}

// dial connects to a member's address.
func (f *Fleet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if f.cfg.Hosts != nil {
		return f.cfg.Hosts.Dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// until calls ok until it returns true or the context ends. The error then contains what and the
// last error of ok.
func until(ctx context.Context, what string, ok func() error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}
