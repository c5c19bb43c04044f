package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"cairn/cmd/etcdctl/internal/cli"
)

var lockCommand = cli.Command{
	Path: "lock", Args: "<name> [command [argument]...]", Short: "acquire a lock and hold it while a command runs, or until interrupted",
	Long: "Prints the key of the lock once it is held. A command gets the key in ETCD_LOCK_KEY and its revision, which increases from\n" +
		"holder to holder, in ETCD_LOCK_REV; etcdctl exits with the exit code of the command. A holder that cannot reach the cluster\n" +
		"for the time of --ttl loses the lock: use the revision as a fencing token where two holders would do harm.",
	Example: "$ etcdctl lock nightly -- sh -c 'run-backup --fence $ETCD_LOCK_REV'",
	Flags: func(flags *pflag.FlagSet) {
		flags.Int("ttl", 10, "`seconds` after which the lock is released if its holder has failed")
	},
	Run: lock,
}

var electCommand = cli.Command{
	Path: "elect", Args: "<name> [proposal]", Short: "take part in an election, or observe one",
	Long:    "The elected candidate prints its key and proposal, and leads until interrupted. With --listen each leader's proposal is printed.",
	Example: "$ etcdctl elect scheduler host-7\nscheduler/2040a20480d99627\nhost-7",
	Flags: func(flags *pflag.FlagSet) {
		flags.BoolP("listen", "l", false, "observe the election")
	},
	Run: elect,
}

// interruptible returns a context that ends at SIGINT or SIGTERM.
func interruptible(s *cli.Session) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(s.Context, os.Interrupt, syscall.SIGTERM)
}

var errSessionExpired = errors.New("session expired")

// sessionTTL is the TTL of an election's lease, in seconds.
const sessionTTL = 60

// newSession returns a session with a lease of its own. An interrupt ends it while the cluster
// cannot be reached; concurrency.NewSession alone would wait.
func newSession(ctx context.Context, c *clientv3.Client, ttl int) (*concurrency.Session, error) {
	granted, err := c.Grant(ctx, int64(ttl))
	if err != nil {
		return nil, fail(exitError, err)
	}
	session, err := concurrency.NewSession(c, concurrency.WithTTL(ttl), concurrency.WithLease(granted.ID))
	if err != nil {
		return nil, fail(exitError, err)
	}
	return session, nil
}

func lock(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) == 0 {
		return failf(exitArgs, "lock takes a lock name argument and an optional command to execute")
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := interruptible(s)
	defer stop()
	session, err := newSession(ctx, c, value(s.Flags.GetInt("ttl")))
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // the lease expires anyway
	m := concurrency.NewMutex(session, s.Args[0])
	if err := m.Lock(ctx); err != nil {
		return fail(exitError, err)
	}
	if len(s.Args) > 1 {
		err = runLocked(s, m)
	} else if err = showKey(ctx, p, c, m.Key()); err == nil {
		err = untilOver(ctx, session)
	}
	unlock, cancel := limited(s)
	defer cancel()
	if fault := m.Unlock(unlock); err == nil && fault != nil {
		err = fail(exitError, fault)
	}
	return err
}

// showKey prints the key of a lock or of a leader.
func showKey(ctx context.Context, p *printer, c *clientv3.Client, key string) error {
	r, err := c.Get(ctx, key)
	if err != nil {
		return fail(exitError, err)
	}
	if len(r.Kvs) == 0 {
		return fail(exitError, errSessionExpired)
	}
	return p.print(getResponse((*etcdserverpb.RangeResponse)(r)))
}

// untilOver waits for an interrupt, which is not an error, or for the end of the session.
func untilOver(ctx context.Context, session *concurrency.Session) error {
	select {
	case <-ctx.Done():
		return nil
	case <-session.Done():
		return fail(exitError, errSessionExpired)
	}
}

// runLocked runs a command while the lock is held. It gets signals from the terminal itself.
func runLocked(s *cli.Session, m *concurrency.Mutex) error {
	cmd := exec.Command(s.Args[1], s.Args[2:]...)
	cmd.Env = append(os.Environ(), "ETCD_LOCK_KEY="+m.Key(), fmt.Sprintf("ETCD_LOCK_REV=%d", m.Header().GetRevision()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return &cli.Exit{Code: exit.ExitCode(), Message: fmt.Sprintf("Error: %v\n", err)}
	default:
		return fail(exitError, err)
	}
}

func elect(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	listen := s.Bool("listen")
	switch {
	case len(s.Args) != 1 && len(s.Args) != 2, listen && len(s.Args) != 1:
		return failf(exitArgs, "elect takes one election name argument and an optional proposal argument")
	case len(s.Args) == 1 && !listen:
		return failf(exitArgs, "no proposal argument but -l not set")
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := interruptible(s)
	defer stop()
	if listen {
		return observe(ctx, p, c, s.Args[0])
	}
	session, err := newSession(ctx, c, sessionTTL)
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // the lease expires anyway
	e := concurrency.NewElection(session, s.Args[0])
	if err := e.Campaign(ctx, s.Args[1]); err != nil {
		return fail(exitError, err)
	}
	if err = showKey(ctx, p, c, e.Key()); err == nil {
		err = untilOver(ctx, session)
	}
	resign, cancel := limited(s)
	defer cancel()
	if fault := e.Resign(resign); err == nil && fault != nil {
		err = fail(exitError, fault)
	}
	return err
}

// observe prints the key of each leader until interrupted.
func observe(ctx context.Context, p *printer, c *clientv3.Client, name string) error {
	session, err := newSession(ctx, c, sessionTTL)
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // the lease expires anyway
	for r := range concurrency.NewElection(session, name).Observe(ctx) {
		if err := p.print(getResponse((*etcdserverpb.RangeResponse)(r))); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return failf(exitError, "the server ended the observation of the election %s", name)
}
