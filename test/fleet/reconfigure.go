package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// connectParams makes clients reconnect soon: gRPC's usual back-off would hide how long members are
// unavailable.
var connectParams = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 300 * time.Millisecond},
	MinConnectTimeout: time.Second,
}

// Connect makes a client of some members, which the caller closes.
func (f *Fleet) Connect(members ...*Member) (*clientv3.Client, error) {
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.ClientURL())
	}
	user, password := f.Credentials()
	return clientv3.New(clientv3.Config{
		Username: user, Password: password,
		Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return f.dial(ctx, "tcp", address)
		}), grpc.WithConnectParams(connectParams)},
	})
}

// retry calls do until it succeeds: a missing leader and members that have just connected are
// temporary.
func retry(ctx context.Context, what string, do func(context.Context) error) error {
	var refused error
	err := until(ctx, what, func() error {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := do(attempt)
		for _, final := range []error{
			rpctypes.ErrMemberNotFound, rpctypes.ErrMemberExist, rpctypes.ErrMemberBadURLs,
			rpctypes.ErrMemberNotLearner, rpctypes.ErrTooManyLearners,
		} {
			if errors.Is(err, final) {
				refused = err
				return nil
			}
		}
		return err
	})
	return errors.Join(err, refused)
}

// Add adds a member to the cluster and starts it. A voter is healthy when Add returns; the caller
// promotes a learner.
func (f *Fleet) Add(ctx context.Context, learner bool) (*Member, error) {
	m, err := f.newMember()
	if err != nil {
		return nil, err
	}
	return m, f.add(ctx, m, learner)
}

func (f *Fleet) add(ctx context.Context, m *Member, learner bool) error {
	c, err := f.Connect(f.Running()...)
	if err != nil {
		return err
	}
	defer c.Close()
	err = retry(ctx, "the addition of "+m.Name, func(ctx context.Context) error {
		if known, err := f.find(ctx, c, m); err != nil || known {
			return err
		}
		add := c.MemberAdd
		if learner {
			add = c.MemberAddAsLearner
		}
		resp, err := add(ctx, []string{m.PeerURL()})
		if err == nil {
			m.id.Store(resp.Member.ID)
		}
		return err
	})
	if err != nil {
		return err
	}
	f.join(m)
	m.bootstrap = bootstrap{cluster: f.initialCluster(), state: "existing"}
	if err := m.Start(); err != nil {
		return err
	}
	if learner {
		return nil // it serves no linearizable reads, so it is not healthy
	}
	return m.awaitStart(ctx)
}

// awaitStart waits until a member that was started is healthy. It returns an error with the
// member's log when its process has ended.
func (m *Member) awaitStart(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return until(ctx, m.Name+" to be healthy", func() error {
		if !m.Running() {
			err := fmt.Errorf("it has ended; its log:\n%s", m.Log())
			cancel(err)
			return err
		}
		return m.health(ctx)
	})
}

// find reports whether the cluster has a member already, as after an addition whose response was
// lost, and sets its ID.
func (f *Fleet) find(ctx context.Context, c *clientv3.Client, m *Member) (bool, error) {
	resp, err := c.MemberList(ctx)
	if err != nil {
		return false, err
	}
	for _, r := range resp.Members {
		if len(r.PeerURLs) == 1 && r.PeerURLs[0] == m.PeerURL() {
			m.id.Store(r.ID)
			return true, nil
		}
	}
	return false, nil
}

// Promote makes a learner a voter once it has caught up, and waits until it is healthy.
func (f *Fleet) Promote(ctx context.Context, m *Member) error {
	c, err := f.Connect(f.Running()...)
	if err != nil {
		return err
	}
	defer c.Close()
	err = retry(ctx, "the promotion of "+m.Name, func(ctx context.Context) error {
		_, err := c.MemberPromote(ctx, m.ID())
		return err
	})
	if errors.Is(err, rpctypes.ErrMemberNotLearner) {
		err = nil // a response was lost
	}
	return errors.Join(err, m.AwaitHealthy(ctx))
}

// Remove removes a member from the cluster, waits until its process has ended by itself, and
// returns its final state, nil when it did not run.
func (f *Fleet) Remove(ctx context.Context, m *Member) (*os.ProcessState, error) {
	var others []*Member
	for _, o := range f.Running() {
		if o != m && !o.Paused() {
			others = append(others, o)
		}
	}
	c, err := f.Connect(others...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	err = retry(ctx, "the removal of "+m.Name, func(ctx context.Context) error {
		_, err := c.MemberRemove(ctx, m.ID())
		return err
	})
	if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
		return nil, err
	}
	f.leave(m)
	return m.AwaitEnd(ctx)
}

// Replace replaces a member that has lost its data: it removes the member, adds an empty learner
// with the same URLs, and promotes it.
func (f *Fleet) Replace(ctx context.Context, m *Member) error {
	if err := m.Kill(); err != nil {
		return err
	}
	if err := m.Wipe(); err != nil {
		return err
	}
	if _, err := f.Remove(ctx, m); err != nil {
		return err
	}
	if err := f.add(ctx, m, true); err != nil {
		return err
	}
	return f.Promote(ctx, m)
}

// Wipe removes the data of a member that does not run.
func (m *Member) Wipe() error {
	if m.Running() {
		return fmt.Errorf("wipe %s: it runs", m.Name)
	}
	// The directory itself stays: it may be a mount point.
	entries, err := os.ReadDir(m.DataDir())
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(m.DataDir(), e.Name())))
	}
	return err
}
