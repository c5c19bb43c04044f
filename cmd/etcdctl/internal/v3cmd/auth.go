package v3cmd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"cairn/cmd/etcdctl/internal/cli"
)

var authCommands = []cli.Command{
	{Path: "auth", Short: "Enable, disable or show authentication."},
	{
		Path: "auth enable", Short: "enable authentication",
		Long:    "The user root must exist. The role root is created and granted to it if necessary.",
		Example: "$ ETCDCTL_API=3 etcdctl user add root\n$ ETCDCTL_API=3 etcdctl auth enable\nAuthentication Enabled",
		Run:     authEnable,
	},
	{
		Path: "auth disable", Short: "disable authentication",
		Example: "$ ETCDCTL_API=3 etcdctl --user root auth disable\nPassword: \nAuthentication Disabled",
		Run: func(s *cli.Session) error {
			return authSwitch(s, "disable", func(ctx context.Context, c *clientv3.Client) error {
				_, err := c.AuthDisable(ctx)
				return err
			}, "Authentication Disabled")
		},
	},
	{
		Path: "auth status", Short: "show whether authentication is enabled",
		Long:    "The auth revision is incremented by each change of users and roles.",
		Example: "$ etcdctl auth status\nAuthentication Status: false\nAuthRevision: 1",
		Run:     authStatus,
	},
}

// headed is a response message with a header.
type headed interface {
	proto.Message
	GetHeader() *etcdserverpb.ResponseHeader
}

// confirm returns a result that only confirms that the request succeeded.
func confirm(m headed, format string, args ...any) response {
	return response{
		json: m, proto: m,
		simple: func(p *printer) { fmt.Fprintf(p, format+"\n", args...) },
		fields: func(p *printer) { p.header(m.GetHeader()) },
	}
}

// authSwitch enables or disables authentication. Every format prints the line done, as in etcdctl.
func authSwitch(s *cli.Session, name string, do func(context.Context, *clientv3.Client) error, done string) error {
	if _, err := begin(s, fields, jsonText, protobuf, table); err != nil {
		return err
	}
	if len(s.Args) != 0 {
		return failf(exitArgs, "auth %s command does not accept any arguments", name)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		if err := do(ctx, c); err != nil {
			return fail(exitError, err)
		}
		fmt.Fprintln(s.Out, done)
		return nil
	})
}

func authEnable(s *cli.Session) error {
	return authSwitch(s, "enable", func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.AuthEnable(ctx)
		if !errors.Is(err, rpctypes.ErrRootRoleNotExist) {
			return err
		}
		if _, err := c.RoleAdd(ctx, "root"); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
			return err
		}
		if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
			return err
		}
		_, err = c.AuthEnable(ctx)
		return err
	}, "Authentication Enabled")
}

func authStatus(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 0 {
		return failf(exitArgs, "auth status command does not accept any arguments")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.AuthStatus(ctx)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.AuthStatusResponse)(r)
		return p.print(response{
			json: m, proto: m,
			simple: func(p *printer) {
				fmt.Fprintf(p, "Authentication Status: %t\nAuthRevision: %d\n", m.Enabled, m.AuthRevision)
			},
			fields: func(p *printer) {
				p.header(m.Header)
				fmt.Fprintf(p, "\"Enabled\" : %t\n\"AuthRevision\" : %d\n", m.Enabled, m.AuthRevision)
			},
		})
	})
}
