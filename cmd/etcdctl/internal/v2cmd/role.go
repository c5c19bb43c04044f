package v2cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var roleCommands = []cli.Command{
	{Path: "role", Short: "Manage roles and their permissions."},
	{Path: "role add", Args: "<name>", Short: "add a role", Example: "$ etcdctl role add dev\nRole dev created", Run: roleAdd},
	{
		Path: "role get", Args: "<name>", Short: "print the permissions of a role",
		Example: "$ etcdctl role get dev\nRole: dev\nKV Read:\n\t/dev/*\nKV Write:\n\t/dev/*", Run: roleGet,
	},
	{Path: "role list", Short: "list the roles", Example: "$ etcdctl role list\ndev\nroot", Run: roleList},
	{Path: "role remove", Args: "<name>", Short: "remove a role", Example: "$ etcdctl role remove dev\nRole dev removed", Run: roleRemove},
	{
		Path: "role grant", Args: "<name>", Short: "grant a role permission to read or write keys",
		Long:    "A path that ends in * matches all keys with this prefix: /dev/* matches the keys below /dev, not /dev itself.",
		Example: "$ etcdctl role grant --path '/dev/*' --readwrite dev\nRole dev updated", Flags: permissionFlags, Run: roleGrant,
	},
	{
		Path: "role revoke", Args: "<name>", Short: "revoke permissions from a role",
		Example: "$ etcdctl role revoke --path '/dev/*' --write dev\nRole dev updated", Flags: permissionFlags, Run: roleRevoke,
	},
}

func permissionFlags(flags *pflag.FlagSet) {
	flags.String("path", "", "`path` of the keys, such as /dev/*")
	flags.Bool("read", false, "permission to read")
	flags.Bool("write", false, "permission to write")
	flags.Bool("readwrite", false, "permission to read and write")
	flags.Bool("rw", false, "permission to read and write")
}

func roleAdd(s *cli.Session) error {
	if err := exactly(s, 1, "role add <name>"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		if _, err := d.client.Role(d.ctx, s.Args[0]); err == nil {
			return fmt.Errorf("Role %s already exists", s.Args[0]) //nolint:revive,staticcheck // etcdctl's own words
		}
		if err := d.client.AddRole(d.ctx, s.Args[0]); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Role %s created\n", s.Args[0])
		return nil
	})
}

func roleGet(s *cli.Session) error {
	if err := exactly(s, 1, "role get <name>"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		r, err := d.client.Role(d.ctx, s.Args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Role: %s\nKV Read:\n", r.Name)
		for _, path := range r.Permissions.Read {
			fmt.Fprintf(s.Out, "\t%s\n", path)
		}
		fmt.Fprintln(s.Out, "KV Write:")
		for _, path := range r.Permissions.Write {
			fmt.Fprintf(s.Out, "\t%s\n", path)
		}
		return nil
	})
}

func roleList(s *cli.Session) error {
	if err := exactly(s, 0, "role list"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		names, err := d.client.Roles(d.ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			fmt.Fprintln(s.Out, name)
		}
		return nil
	})
}

func roleRemove(s *cli.Session) error {
	if err := exactly(s, 1, "role remove <name>"); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		if err := d.client.RemoveRole(d.ctx, s.Args[0]); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Role %s removed\n", s.Args[0])
		return nil
	})
}

func roleGrant(s *cli.Session) error {
	return changePermissions(s, "role grant", func(d dir, name string, p v2client.Permissions) error {
		return d.client.GrantRole(d.ctx, name, p)
	})
}

func roleRevoke(s *cli.Session) error {
	return changePermissions(s, "role revoke", func(d dir, name string, p v2client.Permissions) error {
		return d.client.RevokeRole(d.ctx, name, p)
	})
}

func changePermissions(s *cli.Session, path string, change func(dir, string, v2client.Permissions) error) error {
	if err := exactly(s, 1, path+" <name>"); err != nil {
		return err
	}
	p, err := permissionsOf(s)
	if err != nil {
		return plain("etcdctl %s: %v", path, err)
	}
	return onUsers(s, func(d dir) error {
		if _, err := d.client.Role(d.ctx, s.Args[0]); err != nil {
			return err
		}
		if err := change(d, s.Args[0], p); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Role %s updated\n", s.Args[0])
		return nil
	})
}

// permissionsOf returns the permissions of the flags. It requires exactly one kind of access, so
// that a mistake does not grant more than intended.
func permissionsOf(s *cli.Session) (p v2client.Permissions, err error) {
	path, kinds := s.String("path"), 0
	for _, kind := range []string{"read", "write", "readwrite", "rw"} {
		if s.Bool(kind) {
			kinds++
		}
	}
	switch {
	case path == "":
		return p, fmt.Errorf("no path: give one with --path, such as --path '/dev/*'")
	case !strings.HasPrefix(path, "/"):
		return p, fmt.Errorf("--path %q: a path begins with a slash", path)
	case kinds != 1:
		return p, fmt.Errorf("%d of --read, --write and --readwrite given: give one", kinds)
	}
	if !s.Bool("write") {
		p.Read = []string{path}
	}
	if !s.Bool("read") {
		p.Write = []string{path}
	}
	return p, nil
}
