package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/backup"
	"cairn/internal/migration"
)

// users are the users and roles of a cluster as returned by its API: without passwords, one line
// each.
type users struct {
	lines    []string
	revision uint64 // of users and roles; 0 before etcd 3.5, which does not report it
	enabled  bool   // known if revision is not 0
}

// equal reports whether nothing has changed between two moments, as far as the API shows.
func (u *users) equal(other *users) bool {
	return slices.Equal(u.lines, other.lines) && u.revision == other.revision && u.enabled == other.enabled
}

// usersOf requests a cluster's users and roles.
func usersOf(ctx context.Context, c *clientv3.Client) (u users, err error) {
	st, err := c.AuthStatus(ctx)
	switch {
	case err == nil:
		u.revision, u.enabled = st.AuthRevision, st.Enabled
	case status.Code(err) != codes.Unimplemented && !isUnimplemented(err):
		return u, fmt.Errorf("read state of authentication: %w", err)
	}
	names, err := c.UserList(ctx)
	if err != nil {
		return u, fmt.Errorf("list users: %w", err)
	}
	for _, name := range names.Users {
		r, err := c.UserGet(ctx, name)
		if err != nil {
			return u, fmt.Errorf("read user %q: %w", name, err)
		}
		u.lines = append(u.lines, fmt.Sprintf("user %q %q", name, slices.Sorted(slices.Values(r.Roles))))
	}
	roles, err := c.RoleList(ctx)
	if err != nil {
		return u, fmt.Errorf("list roles: %w", err)
	}
	for _, name := range roles.Roles {
		r, err := c.RoleGet(ctx, name)
		if err != nil {
			return u, fmt.Errorf("read role %q: %w", name, err)
		}
		u.lines = append(u.lines, fmt.Sprintf("role %q", name))
		for _, p := range r.Perm {
			u.lines = append(u.lines, fmt.Sprintf("role %q may %s %q to %q", name, p.PermType, p.Key, p.RangeEnd))
		}
	}
	slices.Sort(u.lines)
	return u, nil
}

// isUnimplemented reports whether a server does not implement a call.
func isUnimplemented(err error) bool {
	st, ok := statusIn(err)
	return ok && st.Code() == codes.Unimplemented || strings.Contains(err.Error(), "unknown method")
}

// takeUsers updates the target's users and roles, and returns the source's. Only snapshots have
// passwords, so a new snapshot is taken unless it is certain that nothing has changed.
func (m *Migration) takeUsers(ctx context.Context) (users, error) {
	source, err := usersOf(ctx, m.o.Source)
	if err != nil {
		return source, fmt.Errorf("old cluster: %w", err)
	}
	target, err := usersOf(ctx, m.target.client)
	if err != nil {
		return source, fmt.Errorf("new cluster: %w", err)
	}
	if len(source.lines)+len(target.lines) == 0 || source.revision > 0 && source.equal(&target) {
		return source, nil
	}
	f, err := m.snapshot(ctx)
	if err != nil {
		return source, err
	}
	r, err := backup.AuthOf(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return source, err
	}
	if _, err := m.target.command(ctx, &migration.Command{Kind: migration.KindAuth, Auth: r}); err != nil {
		return source, err
	}
	return source, m.target.reopen()
}
