package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var userCommands = []cli.Command{
	{Path: "user", Short: "Manage users and their roles."},
	{
		Path: "user add", Args: "<name>[:password]", Short: "add a user",
		Long:    "Asks for the password if none is given. The name ends at the first colon, except with --new-user-password or --no-password.",
		Example: "$ ETCDCTL_API=3 etcdctl user add app\nPassword of app: \nType password of app again for confirmation: \nUser app created",
		Flags: func(flags *pflag.FlagSet) {
			flags.Bool("no-password", false, "create the user without a password: it cannot authenticate with one")
			flags.String("new-user-password", "", "`password` of the new user")
			flags.Bool("interactive", true, "prompt for the password twice; =false reads it from standard input without a prompt")
		},
		Run: userAdd,
	},
	{
		Path: "user delete", Args: "<name>", Short: "delete a user",
		Example: "$ etcdctl user delete app\nUser app deleted", Run: userDelete,
	},
	{
		Path: "user get", Args: "<name>", Short: "print the roles of a user",
		Example: "$ ETCDCTL_API=3 etcdctl user get app\nUser: app\nRoles: writer",
		Flags: func(flags *pflag.FlagSet) {
			flags.Bool("detail", false, "print the permissions of the roles as well")
		},
		Run: userGet,
	},
	{
		Path: "user list", Short: "list the users",
		Example: "$ ETCDCTL_API=3 etcdctl user list\napp\nroot", Run: userList,
	},
	{
		Path: "user passwd", Args: "<name>", Short: "change the password of a user",
		Long:    "Tokens of the user become invalid: its clients must authenticate again.",
		Example: "$ echo secret | ETCDCTL_API=3 etcdctl user passwd app --interactive=false\nPassword updated",
		Flags: func(flags *pflag.FlagSet) {
			flags.Bool("interactive", true, "prompt for the password twice; =false reads it from standard input without a prompt")
		},
		Run: userPasswd,
	},
	{
		Path: "user grant-role", Args: "<name> <role>", Short: "grant a role to a user",
		Example: "$ etcdctl user grant-role app writer\nRole writer is granted to user app", Run: userGrantRole,
	},
	{
		Path: "user revoke-role", Args: "<name> <role>", Short: "revoke a role from a user",
		Example: "$ etcdctl user revoke-role app writer\nRole writer is revoked from user app", Run: userRevokeRole,
	},
}

// askPassword reads a new password: with two prompts, or with --interactive=false without a prompt.
func askPassword(s *cli.Session, name string) (string, error) {
	if !s.Bool("interactive") {
		return s.Password("") // etcdctl takes an empty standard input as an empty password
	}
	first, err := s.ReadSecret(fmt.Sprintf("Password of %s: ", name))
	if err != nil {
		return "", err
	}
	again, err := s.ReadSecret(fmt.Sprintf("Type password of %s again for confirmation: ", name))
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("given passwords are different")
	}
	return first, nil
}

// newUser returns the name and the password of the user to add.
func newUser(s *cli.Session) (name, password string, err error) {
	name = s.Args[0]
	if s.Bool("no-password") {
		return name, "", nil
	}
	if password = s.String("new-user-password"); password != "" {
		return name, password, nil
	}
	var given bool
	if name, password, given = strings.Cut(name, ":"); given {
		if name == "" {
			return "", "", errors.New("empty user name is not allowed")
		}
		return name, password, nil
	}
	password, err = askPassword(s, name)
	return name, password, err
}

func userAdd(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "user add command requires user name as its argument")
	}
	name, password, err := newUser(s)
	if err != nil {
		return fail(exitArgs, err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserAddWithOptions(ctx, name, password, &clientv3.UserAddOptions{NoPassword: s.Bool("no-password")})
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthUserAddResponse)(r), "User %s created", name))
	})
}

func userDelete(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "user delete command requires user name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserDelete(ctx, s.Args[0])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthUserDeleteResponse)(r), "User %s deleted", s.Args[0]))
	})
}

func userGet(s *cli.Session) error {
	formats := []string{jsonText, protobuf}
	if s.Bool("detail") {
		formats = common
	}
	p, err := begin(s, formats...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "user get command requires user name as its argument")
	}
	name := s.Args[0]
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserGet(ctx, name)
		if err != nil {
			return fail(exitError, err)
		}
		if s.Bool("detail") {
			return userDetail(ctx, s, p, c, name, r.Roles)
		}
		m := (*etcdserverpb.AuthUserGetResponse)(r)
		return p.print(response{json: m, proto: m, simple: func(p *printer) {
			roles := ""
			for _, role := range m.Roles {
				roles += " " + role
			}
			fmt.Fprintf(p, "User: %s\nRoles:%s\n", name, roles)
		}})
	})
}

// userDetail prints the user's name as text and then each role in the format of --write-out, as
// etcdctl does.
func userDetail(ctx context.Context, s *cli.Session, p *printer, c *clientv3.Client, name string, roles []string) error {
	fmt.Fprintf(s.Out, "User: %s\n", name)
	for _, role := range roles {
		r, err := c.RoleGet(ctx, role)
		if err != nil {
			return fail(exitError, err)
		}
		fmt.Fprintln(s.Out)
		if err := p.print(roleResponse(role, (*etcdserverpb.AuthRoleGetResponse)(r))); err != nil {
			return err
		}
	}
	return nil
}

func userList(s *cli.Session) error {
	p, err := begin(s, jsonText, protobuf)
	if err != nil {
		return err
	}
	if len(s.Args) != 0 {
		return failf(exitArgs, "user list command requires no arguments")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserList(ctx)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.AuthUserListResponse)(r)
		return p.print(response{json: m, proto: m, simple: func(p *printer) {
			for _, name := range m.Users {
				fmt.Fprintln(p, name)
			}
		}})
	})
}

func userPasswd(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "user passwd command requires user name as its argument")
	}
	password, err := askPassword(s, s.Args[0])
	if err != nil {
		return fail(exitArgs, err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserChangePassword(ctx, s.Args[0], password)
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthUserChangePasswordResponse)(r), "Password updated"))
	})
}

func userGrantRole(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 2 {
		return failf(exitArgs, "user grant command requires user name and role name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserGrantRole(ctx, s.Args[0], s.Args[1])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthUserGrantRoleResponse)(r), "Role %s is granted to user %s", s.Args[1], s.Args[0]))
	})
}

func userRevokeRole(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 2 {
		return failf(exitArgs, "user revoke-role requires user name and role name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.UserRevokeRole(ctx, s.Args[0], s.Args[1])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthUserRevokeRoleResponse)(r), "Role %s is revoked from user %s", s.Args[1], s.Args[0]))
	})
}
