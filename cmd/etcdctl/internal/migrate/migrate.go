// Package migrate moves the content of a running cluster of etcd, the source, into a new cluster of
// cairn, the target, while the source serves its clients.
//
//  1. Load: a snapshot of the source is saved to a file, and its keys are sent to the target with
//     their revisions and history.
//  2. Follow: a watch on all keys of the source continues after that. Each revision is applied
//     under the same number.
//  3. Finish: the keys of both clusters are compared, the source is made to refuse writes, the last
//     revisions, leases and users are copied, and the target starts to accept writes.
//
// It owns the order of these steps and the connections to both clusters. It does not own the
// execution of commands in the target (package migration).
//
// Invariants: only the target stores the position of the migration, so that a program that was
// killed at any moment, or runs twice, neither loses nor repeats a change. Nothing of the source is
// changed before Finish, which raises an alarm there that refuses writes, and clears it if it
// fails.
//
// Concurrency: a Migration belongs to one goroutine.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/migration"
)

// Options name the two clusters.
type Options struct {
	Source *clientv3.Client
	// Endpoints are the source's, shown in the status.
	Endpoints string
	// Target opens a client of the target. It is called again when users were replaced, or a
	// connection has failed.
	Target func() (*clientv3.Client, error)
	// Dir is the directory for the snapshot while it is read.
	Dir string
	// Log prints progress for a person. It gets one line without its line feed.
	Log func(format string, args ...any)
	// Downloaded is called with the number of bytes of a snapshot received; may be nil.
	Downloaded func(n int)
}

// Migration is one run of the program.
type Migration struct {
	o      Options
	source uint64 // the source's cluster ID
	target *target
}

// errCompacted reports that the source has compacted a revision that the target needs.
var errCompacted = errors.New("the old cluster has compacted revisions that were not taken yet")

// errFinished reports that the migration is finished.
var errFinished = errors.New("the migration is finished")

// Open connects to both clusters.
func Open(ctx context.Context, o Options) (*Migration, error) {
	m := &Migration{o: o}
	st, err := firstStatus(ctx, o.Source)
	if err != nil {
		return nil, fmt.Errorf("old cluster: %w", err)
	}
	m.source = st.Header.ClusterId
	if m.target, err = openTarget(o.Target); err != nil {
		return nil, err
	}
	return m, nil
}

// Close closes the connection to the target.
func (m *Migration) Close() error { return m.target.close() }

// firstStatus returns the status of the first endpoint that responds.
func firstStatus(ctx context.Context, c *clientv3.Client) (st *clientv3.StatusResponse, err error) {
	for _, endpoint := range c.Endpoints() {
		var r *clientv3.StatusResponse
		if r, err = statusOf(ctx, c, endpoint); err == nil {
			return r, nil
		}
	}
	return nil, err
}

// statusTimeout limits the request for a member's status.
const statusTimeout = 5 * time.Second

func statusOf(ctx context.Context, c *clientv3.Client, endpoint string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	r, err := c.Status(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	return r, nil
}

// Status returns the position of a target.
func Status(ctx context.Context, c *clientv3.Client) (migration.Status, error) {
	return (&target{client: c}).status(ctx)
}

// Status returns the position of the target.
func (m *Migration) Status(ctx context.Context) (migration.Status, error) {
	return m.target.status(ctx)
}

// SourceRevision returns the newest revision of the source.
func (m *Migration) SourceRevision(ctx context.Context) (int64, error) {
	// A linearizable read: the revision of a member that lags would be too low.
	r, err := m.o.Source.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("old cluster: read revision: %w", err)
	}
	return r.Header.Revision, nil
}

// retryPause is the pause between two attempts after a connection has failed.
const retryPause = time.Second

// Run loads and follows until the migration is finished, by Finish in another program, or the
// context ends. It continues after failures of connections and members.
func (m *Migration) Run(ctx context.Context) error {
	for said := ""; ; {
		err := m.run(ctx)
		switch {
		case errors.Is(err, errFinished):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case permanent(err):
			return err
		}
		if text := err.Error(); text != said {
			m.o.Log("interrupted: %s; trying again", text)
			said = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
		if err := m.target.close(); err != nil {
			return err
		}
	}
}

// run loads the target if needed, and follows.
func (m *Migration) run(ctx context.Context) error {
	// With a user, this sends a request: it fails while the new cluster is restarted.
	if err := m.target.connect(); err != nil {
		return err
	}
	st, err := m.target.status(ctx)
	if err != nil {
		return err
	}
	if err := m.checkSource(&st); err != nil {
		return err
	}
	// The new cluster itself checks this too, and more, but only after the snapshot was taken.
	if st.Phase == migration.None && st.Revision > 1 {
		return &permanentError{fmt.Errorf("new cluster: it has been written to: it is at revision %d: a migration needs a new one", st.Revision)}
	}
	for {
		switch st.Phase {
		case migration.Finished:
			return errFinished
		case migration.Following:
			err := m.follow(ctx, st.Revision, nil)
			if !errors.Is(err, errCompacted) {
				return err
			}
			m.o.Log("%v: loading a new snapshot", err)
			st.Phase = migration.None // starts again
		default:
			if st, err = m.load(ctx, &st); err != nil {
				return err
			}
		}
	}
}

// checkSource returns an error if the target migrates from another cluster than the source.
func (m *Migration) checkSource(st *migration.Status) error {
	if st.Phase != migration.None && st.Source != migration.SourceID(m.source) {
		return &permanentError{fmt.Errorf("the new cluster takes over cluster %s (%s), not %s", st.Source, st.Endpoints, migration.SourceID(m.source))}
	}
	return nil
}

// permanentError is an error that another attempt cannot fix.
type permanentError struct{ error }

// Unwrap returns the cause.
func (e *permanentError) Unwrap() error { return e.error }

// permanent reports whether another attempt would fail in the same way.
func permanent(err error) bool {
	var p *permanentError
	if errors.As(err, &p) {
		return true
	}
	var known rpctypes.EtcdError
	code := codes.OK
	if errors.As(err, &known) {
		code = known.Code()
	} else if st, ok := statusIn(err); ok {
		if code = st.Code(); code == codes.Unknown && strings.HasPrefix(st.Message(), "auth: ") {
			return true // of etcd before 3.5, for a snapshot
		}
	}
	switch code {
	case codes.FailedPrecondition, codes.PermissionDenied, codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}

// statusIn returns the gRPC status that an error wraps.
func statusIn(err error) (*status.Status, bool) {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus(), true
	}
	return nil, false
}
