package v2cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
)

var userCommands = []cli.Command{
	{Path: "user", Short: "Manage users and their roles."},
	{
		Path: "user add", Args: "<name>[:<password>]", Short: "add a user",
		Long:    "Asks for the password if none is given. An existing user gets the new password.",
		Example: "$ etcdctl user add alice\nNew password:\nUser alice created",
		Run:     userAdd,
	},
	{
		Path: "user get", Args: "<name>", Short: "print the roles of a user",
		Example: "$ etcdctl user get alice\nUser: alice\nRoles:  dev",
		Run:     userGet,
	},
	{Path: "user list", Short: "list the users", Example: "$ etcdctl user list\nalice\nroot", Run: userList},
	{
		Path: "user remove", Args: "<name>", Short: "remove a user",
		Example: "$ etcdctl user remove alice\nUser alice removed", Run: userRemove,
	},
	{
		Path: "user grant", Args: "<name>", Short: "grant roles to a user",
		Example: "$ etcdctl user grant --roles dev,ops alice\nUser alice updated", Flags: rolesFlag, Run: userGrant,
	},
	{
		Path: "user revoke", Args: "<name>", Short: "revoke roles from a user",
		Example: "$ etcdctl user revoke --roles ops alice\nUser alice updated", Flags: rolesFlag, Run: userRevoke,
	},
	{
		Path: "user passwd", Args: "<name>", Short: "change the password of a user",
		Example: "$ etcdctl user passwd alice\nNew password:\nPassword updated", Run: userPasswd,
	},
}

func rolesFlag(flags *pflag.FlagSet) {
	flags.StringSlice("roles", nil, "`roles`, separated by commas; the option may be repeated")
}

func userAdd(s *cli.Session) error {
	if err := exactly(s, 1, "user add <name>[:<password>]"); err != nil {
		return err
	}
	name, password, given := strings.Cut(s.Args[0], ":")
	if !given {
		var err error
		if password, err = s.Password("New password: "); err != nil {
			return plain("%v", err)
		}
	}
	return onUsers(s, func(d dir) error {
		if _, err := d.client.SetPassword(d.ctx, name, password); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "User %s created\n", name)
		return nil
	})
}

func userGet(s *cli.Session) error {
	if err := exactly(s, 1, "user get <name>"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		u, err := d.client.User(d.ctx, s.Args[0])
		if err != nil {
			return err
		}
		// etcdctl prints as many blanks before the roles as there are roles; scripts rely on it.
		fmt.Fprintf(s.Out, "User: %s\nRoles: %s%s\n", u.Name, strings.Repeat(" ", len(u.Roles)), strings.Join(u.Roles, " "))
		return nil
	})
}

func userList(s *cli.Session) error {
	if err := exactly(s, 0, "user list"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		names, err := d.client.Users(d.ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			fmt.Fprintln(s.Out, name)
		}
		return nil
	})
}

func userRemove(s *cli.Session) error {
	if err := exactly(s, 1, "user remove <name>"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		if err := d.client.RemoveUser(d.ctx, s.Args[0]); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "User %s removed\n", s.Args[0])
		return nil
	})
}

func userGrant(s *cli.Session) error  { return changeRoles(s, "user grant", dir.grant) }
func userRevoke(s *cli.Session) error { return changeRoles(s, "user revoke", dir.revoke) }

func (d dir) grant(name string, roles []string) error {
	return d.client.GrantRoles(d.ctx, name, roles)
}

func (d dir) revoke(name string, roles []string) error {
	return d.client.RevokeRoles(d.ctx, name, roles)
}

func changeRoles(s *cli.Session, path string, change func(d dir, name string, roles []string) error) error {
	if err := exactly(s, 1, path+" <name>"); err != nil {
		return err
	}
	roles := value(s.Flags.GetStringSlice("roles"))
	if len(roles) == 0 {
		return plain("etcdctl %s: no roles: name them with --roles", path)
	}
	return onUsers(s, func(d dir) error {
		if err := change(d, s.Args[0], roles); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "User %s updated\n", s.Args[0])
		return nil
	})
}

func userPasswd(s *cli.Session) error {
	if err := exactly(s, 1, "user passwd <name>"); err != nil {
		return err
	}
	password, err := s.Password("New password: ")
	if err != nil {
		return plain("%v", err)
	}
	return onUsers(s, func(d dir) error {
		created, err := d.client.SetPassword(d.ctx, s.Args[0], password)
		if err != nil {
			return err
		}
		// The API has one request for both; the result shows whether the user existed.
		if created {
			return fmt.Errorf("user %q did not exist: it has been created with this password (undo it with etcdctl user remove %s)", s.Args[0], s.Args[0])
		}
		fmt.Fprintln(s.Out, "Password updated")
		return nil
	})
}
