package v3cmd

import (
	"context"
	"fmt"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

// Limits of shell completion: it must not delay the user.
const (
	completionsMax    = 100
	completionTimeout = time.Second
)

// quickly connects and runs do for shell completion: without asking for a password, and within a
// second.
func quickly(s *cli.Session, do func(context.Context, *clientv3.Client) error) error {
	if err := environment(s); err != nil {
		return err
	}
	own := *s
	own.In, own.Out, own.Err = emptyReader{}, io.Discard, io.Discard
	c, err := connect(&own)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(s.Context, completionTimeout)
	defer cancel()
	return do(ctx, c)
}

// emptyReader is an empty standard input.
type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

// completeNames returns a completion of the argument at a position by the names that list returns.
func completeNames(position int, list func(context.Context, *clientv3.Client) ([]string, error)) func(*cli.Session) []string {
	return func(s *cli.Session) (names []string) {
		if len(s.Args) != position {
			return nil
		}
		_ = quickly(s, func(ctx context.Context, c *clientv3.Client) (err error) {
			names, err = list(ctx, c)
			return err
		})
		return names
	}
}

func userNames(ctx context.Context, c *clientv3.Client) ([]string, error) {
	r, err := c.UserList(ctx)
	if err != nil {
		return nil, err
	}
	return r.Users, nil
}

func roleNames(ctx context.Context, c *clientv3.Client) ([]string, error) {
	r, err := c.RoleList(ctx)
	if err != nil {
		return nil, err
	}
	return r.Roles, nil
}

func memberIDs(ctx context.Context, c *clientv3.Client) (ids []string, err error) {
	r, err := c.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	for _, m := range r.Members {
		ids = append(ids, fmt.Sprintf("%x", m.GetID()))
	}
	return ids, nil
}

func memberNames(ctx context.Context, c *clientv3.Client) (names []string, err error) {
	r, err := c.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	for _, m := range r.Members {
		names = append(names, m.GetName())
	}
	return names, nil
}

func leaseIDs(ctx context.Context, c *clientv3.Client) (ids []string, err error) {
	r, err := c.Leases(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range r.Leases {
		ids = append(ids, fmt.Sprintf("%016x", l.ID))
	}
	return ids, nil
}

// completions are the completions of commands by their paths.
func completions() map[string]func(*cli.Session) []string {
	all := map[string]func(*cli.Session) []string{
		"user grant-role": func(s *cli.Session) []string {
			if len(s.Args) == 2 {
				return completeNames(2, roleNames)(s)
			}
			return completeNames(1, userNames)(s)
		},
		"member replace": completeNames(1, memberNames),
	}
	all["user revoke-role"] = all["user grant-role"]
	for _, path := range []string{"get", "put", "del", "watch"} {
		all[path] = completeKeys
	}
	for _, path := range []string{"user get", "user delete", "user passwd"} {
		all[path] = completeNames(1, userNames)
	}
	for _, path := range []string{"role get", "role delete", "role grant-permission", "role revoke-permission"} {
		all[path] = completeNames(1, roleNames)
	}
	for _, path := range []string{"member remove", "member update", "member promote", "move-leader"} {
		all[path] = completeNames(1, memberIDs)
	}
	for _, path := range []string{"lease revoke", "lease timetolive", "lease keep-alive"} {
		all[path] = completeNames(1, leaseIDs)
	}
	return all
}
