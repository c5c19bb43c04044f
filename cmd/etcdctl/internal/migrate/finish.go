package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/internal/migration"
)

// FinishOptions configure the end of a migration.
type FinishOptions struct {
	// KeepWriting leaves the source unchanged: the operator has stopped its clients.
	KeepWriting bool
}

// Finished is the result of Finish.
type Finished struct {
	Verified Verified
	Revision int64 // at which the target starts to accept writes
	Leases   int
	// Gap is the time in which neither cluster accepted writes.
	Gap time.Duration
}

// Time limits for the part of Finish in which the source refuses writes, and for allowing them
// again.
const (
	lastTimeout    = 30 * time.Second
	disarmTimeout  = 10 * time.Second
	outcomeTimeout = 10 * time.Second
)

// Finish ends the migration: the target accepts writes, and the source no longer does. After an
// error the source accepts writes again, unless the target may accept them.
func (m *Migration) Finish(ctx context.Context, o FinishOptions) (done Finished, err error) {
	st, err := m.target.status(ctx)
	if err != nil {
		return done, err
	}
	if err := m.checkSource(&st); err != nil {
		return done, err
	}
	if st.Phase == migration.Finished {
		return done, fmt.Errorf("the migration is in the phase %s: the new cluster takes writes already", st.Phase)
	}
	if st.Phase != migration.Following {
		return done, fmt.Errorf("the migration is in the phase %s, want %s: run `etcdctl migrate` first", st.Phase, migration.Following)
	}
	before, err := m.takeUsers(ctx)
	if err != nil {
		return done, err
	}
	if done.Verified, err = m.verifyPresent(ctx); err != nil {
		return done, err
	}
	m.o.Log("%d keys are equal as of revision %d (SHA-256 %x)", done.Verified.Keys, done.Verified.Revision, done.Verified.Sum)
	known, err := m.takeLeases(ctx, nil)
	if err != nil {
		return done, err
	}
	if _, err := m.catchUp(ctx); err != nil {
		return done, err
	}
	began := time.Now()
	if !o.KeepWriting {
		if err := m.fence(ctx, etcdserverpb.AlarmRequest_ACTIVATE); err != nil {
			return done, errors.Join(err, m.disarm(ctx)) // the alarm may be active nevertheless
		}
		m.o.Log("the old cluster refuses writes")
	}
	if err := m.takeLast(ctx, &done, &before, known); err != nil {
		if unknown := (*unknownError)(nil); !o.KeepWriting && !errors.As(err, &unknown) {
			err = errors.Join(err, m.disarm(ctx))
		}
		return done, err
	}
	done.Gap = time.Since(began)
	return done, nil
}

// disarm makes the source accept writes again, even after ctx has ended.
func (m *Migration) disarm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), disarmTimeout)
	defer cancel()
	if err := m.fence(ctx, etcdserverpb.AlarmRequest_DEACTIVATE); err != nil {
		return fmt.Errorf("%w; run `etcdctl alarm disarm` on the old cluster, so that it takes writes again", err)
	}
	m.o.Log("the old cluster takes writes again")
	return nil
}

// fence raises or clears the alarm CORRUPT in the source: the only alarm that makes etcd refuse
// every write, and the expiry of leases. It is an entry of the source's log, so that no member
// applies a write after it.
func (m *Migration) fence(ctx context.Context, action etcdserverpb.AlarmRequest_AlarmAction) error {
	st, err := firstStatus(ctx, m.o.Source)
	if err != nil {
		return fmt.Errorf("old cluster: %w", err)
	}
	req := &etcdserverpb.AlarmRequest{Action: action, MemberID: st.Header.MemberId, Alarm: etcdserverpb.AlarmType_CORRUPT}
	if _, err := etcdserverpb.NewMaintenanceClient(m.o.Source.ActiveConnection()).Alarm(ctx, req); err != nil {
		return fmt.Errorf("old cluster: change alarm CORRUPT: %w", err)
	}
	return nil
}

// catchUp follows the source up to its current revision, which it returns.
func (m *Migration) catchUp(ctx context.Context) (revision int64, err error) {
	if revision, err = m.SourceRevision(ctx); err != nil {
		return 0, err
	}
	st, err := m.target.status(ctx)
	if err != nil || st.Revision >= revision {
		return revision, err
	}
	err = m.follow(ctx, st.Revision, func(at int64) bool { return at >= revision })
	if errors.Is(err, errCompacted) {
		err = fmt.Errorf("%w: run `etcdctl migrate` until it follows again", err)
	}
	return revision, err
}

// verifyPresent compares the keys of both clusters as of a revision that both have.
func (m *Migration) verifyPresent(ctx context.Context) (Verified, error) {
	for {
		revision, err := m.catchUp(ctx)
		if err != nil {
			return Verified{}, err
		}
		v, err := m.verify(ctx, revision)
		if !compacted(err) {
			return v, err
		}
		m.o.Log("revision %d was compacted while it was compared: comparing a newer one", revision)
	}
}

// takeLast reads the changes up to the refusal of writes in the source, and opens the target.
func (m *Migration) takeLast(ctx context.Context, done *Finished, before *users, known leases) error {
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	revision, err := m.catchUp(ctx)
	if err != nil {
		return err
	}
	if err := m.compareCounts(ctx, revision); err != nil {
		return err
	}
	last, err := m.takeLeases(ctx, known)
	if err != nil {
		return err
	}
	after, err := usersOf(ctx, m.o.Source)
	if err != nil {
		return fmt.Errorf("old cluster: %w", err)
	}
	if !after.equal(before) {
		return errors.New("users or roles of the old cluster were changed meanwhile: run `etcdctl migrate finish` again")
	}
	if now, err := m.SourceRevision(ctx); err != nil {
		return err
	} else if now != revision {
		return fmt.Errorf("the old cluster takes writes: it was at revision %d, and is at %d: stop its clients, or leave out --no-fence", revision, now)
	}
	if _, err := m.target.command(ctx, last.command()); err != nil {
		return err
	}
	done.Revision, done.Leases = revision, len(last)
	_, err = m.target.command(ctx, &migration.Command{Kind: migration.KindFinish, Revision: revision})
	return m.outcome(ctx, err, outcomeTimeout)
}

// unknownError is the error of a finish whose last command may have been executed, or may still be:
// the new cluster accepts writes then. The source must not accept writes again before this is
// known, or both clusters would.
type unknownError struct{ error }

// Unwrap returns the cause.
func (e *unknownError) Unwrap() error { return e.error }

// outcome returns the result of the command that finishes the migration, which returned err. If the
// response was lost, it asks the target for some time whether the command was executed.
func (m *Migration) outcome(ctx context.Context, err error, timeout time.Duration) error {
	if err == nil || permanent(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for {
		if m.target.reopen() == nil {
			if st, asked := m.target.status(ctx); asked == nil && st.Phase == migration.Finished {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return &unknownError{fmt.Errorf("%w: it is not known whether the new cluster takes writes, so the old one continues to refuse them: "+
				"see `etcdctl migrate status`, and run `etcdctl migrate finish` again while it shows the phase %s", err, migration.Following)}
		case <-time.After(retryPause):
		}
	}
}

// compareCounts compares the numbers of keys in the two clusters as of a revision.
func (m *Migration) compareCounts(ctx context.Context, revision int64) error {
	count := func(c *clientv3.Client) (int64, error) {
		r, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly(), clientv3.WithRev(revision))
		if err != nil {
			return 0, err
		}
		return r.Count, nil
	}
	source, err := count(m.o.Source)
	if err != nil {
		return fmt.Errorf("old cluster: count keys: %w", err)
	}
	target, err := count(m.target.client)
	if err != nil {
		return fmt.Errorf("new cluster: count keys: %w", err)
	}
	if source != target {
		return fmt.Errorf("the clusters differ as of revision %d: the old one has %d keys, the new one %d", revision, source, target)
	}
	return nil
}
