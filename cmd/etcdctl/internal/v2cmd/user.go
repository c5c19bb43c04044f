package v2cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
)

var userCommands = []cli.Command{
	{Path: "user", Short: "Look after the users and the roles that they have."},
	{
		Path: "user add", Args: "<name>[:<password>]", Short: "make a user",
		Long:    "A password that is not given is asked for. A user that is there already gets the password.",
		Example: "$ etcdctl user add alice\nNew password:\nUser alice created",
		Run:     userAdd,
	},
	{
		Path: "user get", Args: "<name>", Short: "show a user's roles",
		Example: "$ etcdctl user get alice\nUser: alice\nRoles:  dev",
		Run:     userGet,
	},
	{Path: "user list", Short: "list the users", Example: "$ etcdctl user list\nalice\nroot", Run: userList},
	{
		Path: "user remove", Args: "<name>", Short: "remove a user",
		Example: "$ etcdctl user remove alice\nUser alice removed", Run: userRemove,
	},
	{
		Path: "user grant", Args: "<name>", Short: "give a user roles",
		Example: "$ etcdctl user grant --roles dev,ops alice\nUser alice updated", Flags: rolesFlag, Run: userGrant,
	},
	{
		Path: "user revoke", Args: "<name>", Short: "take roles from a user",
		Example: "$ etcdctl user revoke --roles ops alice\nUser alice updated", Flags: rolesFlag, Run: userRevoke,
	},
	{
		Path: "user passwd", Args: "<name>", Short: "give a user a new password, which is asked for",
		Example: "$ etcdctl user passwd alice\nNew password:\nPassword updated", Run: userPasswd,
	},
}

func rolesFlag(flags *pflag.FlagSet) {
	flags.StringSlice("roles", nil, "the `roles`, with commas between them or one option each")
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
		// As many blanks before the roles as there are roles: this is what scripts have had to cut
		// off since 2.1.
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
		// the API has one request for both, and nothing to tell them apart beforehand without a
		// race
		if created {
			return fmt.Errorf("there was no user %q: it has been made, with this password (etcdctl user remove %s undoes it)", s.Args[0], s.Args[0])
		}
		fmt.Fprintln(s.Out, "Password updated")
		return nil
	})
}
