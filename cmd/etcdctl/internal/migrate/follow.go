package migrate

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/internal/kv"
	"cairn/internal/migration"
)

// lookInterval is the interval at which the target's phase is read, to detect that the migration is
// finished. At reportInterval the source's revision is sent to the target, and progress is
// reported.
const (
	lookInterval   = time.Second
	reportInterval = 5 * time.Second
)

// follow applies the source's changes after a revision, until enough, which may be nil, returns
// true. It returns errCompacted if the source has compacted the next revision, and errFinished if
// the migration is finished.
func (m *Migration) follow(ctx context.Context, from int64, enough func(revision int64) bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	// The key space begins at the key of one zero byte: there is no empty key.
	events := m.o.Source.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from+1), clientv3.WithFragment())
	f := &follower{m: m, revision: from}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	report := time.NewTicker(reportInterval)
	defer report.Stop()
	reported := from
	for enough == nil || !enough(f.revision) {
		select {
		case resp, ok := <-events:
			if !ok {
				return fmt.Errorf("old cluster: the watch has ended: %w", context.Cause(ctx))
			}
			if err := f.take(&resp); err != nil {
				return err
			}
			if err := f.more(events); err != nil {
				return err
			}
			if err := f.flush(ctx); err != nil {
				return err
			}
		case <-look.C:
			if st, err := m.target.status(ctx); err != nil {
				return err
			} else if st.Phase == migration.Finished {
				return errFinished
			}
		case <-report.C:
			if err := f.report(ctx); err != nil {
				return err
			}
			if f.revision != reported {
				m.o.Log("following: revision %d of %d", f.revision, f.seen)
				reported = f.revision
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// follower makes commands from watch responses.
type follower struct {
	m        *Migration
	revision int64 // that the target has, with the changes in command
	sub      int64 // of the next change of revision
	seen     int64 // of the source
	command  []byte
}

// take adds the changes of a response. All changes of a revision are in one response: etcd never
// divides a revision, and the client joins fragments.
func (f *follower) take(resp *clientv3.WatchResponse) error {
	switch {
	case resp.CompactRevision > 0:
		return errCompacted
	case resp.Err() != nil:
		return fmt.Errorf("old cluster: watch: %w", resp.Err())
	}
	f.seen = max(f.seen, resp.Header.Revision)
	for _, e := range resp.Events {
		rev := e.Kv.ModRevision
		switch {
		case rev < f.revision:
			return fmt.Errorf("old cluster: watch: revision %d follows %d", rev, f.revision)
		case rev > f.revision:
			f.revision, f.sub = rev, 0
		}
		r := recordOf(e, f.sub)
		f.sub++
		if len(f.command) == 0 {
			f.begin()
		}
		f.command = migration.AppendChange(f.command, e.Kv.Key, &r)
	}
	return nil
}

// begin starts a command. It does not set the target's revision beyond the last change: the
// following changes have their own revisions.
func (f *follower) begin() {
	c := migration.Command{Kind: migration.KindReplay, Seen: f.seen}
	f.command = c.Append(f.command[:0])
}

func recordOf(e *clientv3.Event, sub int64) kv.Record {
	r := kv.Record{Mod: kv.Revision{Main: e.Kv.ModRevision, Sub: sub}, Deleted: e.Type == mvccpb.DELETE}
	if !r.Deleted {
		r.CreateRevision, r.Version = e.Kv.CreateRevision, e.Kv.Version
		r.Lease, r.Value = kv.LeaseID(e.Kv.Lease), e.Kv.Value
	}
	return r
}

// more adds responses that have been received in the meantime, as far as they fit into one command.
func (f *follower) more(events clientv3.WatchChan) error {
	for len(f.command) < commandBytes {
		select {
		case resp, ok := <-events:
			if !ok {
				return nil // seen by the next read
			}
			if err := f.take(&resp); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// flush sends the command, if there is one.
func (f *follower) flush(ctx context.Context) error {
	if len(f.command) == 0 {
		return nil
	}
	return f.apply(ctx)
}

// report sends the source's revision to the target.
func (f *follower) report(ctx context.Context) (err error) {
	if f.seen, err = f.m.SourceRevision(ctx); err != nil {
		return err
	}
	f.begin()
	return f.apply(ctx)
}

func (f *follower) apply(ctx context.Context) error {
	_, err := f.m.target.apply(ctx, f.command)
	f.command = f.command[:0]
	if err == nil {
		return nil
	}
	if now, asked := f.m.target.status(ctx); asked == nil && now.Phase == migration.Finished {
		return errFinished
	}
	return err
}
