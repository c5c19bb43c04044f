package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var roleCommands = []cli.Command{
	{Path: "role", Short: "Manage roles and their permissions."},
	{Path: "role add", Args: "<role>", Short: "add a role", Example: "$ ETCDCTL_API=3 etcdctl role add writer\nRole writer created", Run: roleAdd},
	{
		Path: "role delete", Args: "<role>", Short: "delete a role, and revoke it from its users",
		Example: "$ etcdctl role delete writer\nRole writer deleted", Run: roleDelete,
	},
	{
		Path: "role get", Args: "<role>", Short: "print the permissions of a role",
		Example: "$ ETCDCTL_API=3 etcdctl role get writer\nRole writer\nKV Read:\n\t[/app/, /app0) (prefix /app/)\nKV Write:\n\t[/app/, /app0) (prefix /app/)", Run: roleGet,
	},
	{Path: "role list", Short: "list the roles", Example: "$ ETCDCTL_API=3 etcdctl role list\nroot\nwriter", Run: roleList},
	{
		Path: "role grant-permission", Args: "<role> read|write|readwrite <key> [range end]", Short: "grant a role permission to read or write keys",
		Long:    "Replaces an existing permission of the role on the same keys.",
		Example: "$ etcdctl role grant-permission writer readwrite /app/ --prefix\nRole writer updated",
		Flags:   permissionFlags, Run: roleGrant,
	},
	{
		Path: "role revoke-permission", Args: "<role> <key> [range end]", Short: "revoke a permission from a role",
		Long:    "Give the range exactly as it was granted.",
		Example: "$ etcdctl role revoke-permission writer /app/ --prefix\nPermission of range [/app/, /app0) is revoked from role writer",
		Flags:   permissionFlags, Run: roleRevoke,
	},
}

func permissionFlags(flags *pflag.FlagSet) {
	flags.Bool("prefix", false, "the keys that begin with <key>")
	flags.Bool("from-key", false, "the keys greater than or equal to <key>, compared as bytes")
}

// openEnd is the range end of a range without an upper bound.
const openEnd = "\x00"

// permissionRange returns the range that the arguments from <key> on describe.
func permissionRange(s *cli.Session, args []string) (key, end string, err error) {
	prefix, fromKey := s.Bool("prefix"), s.Bool("from-key")
	switch {
	case prefix && fromKey:
		return "", "", errors.New("--from-key and --prefix flags are mutually exclusive")
	case len(args) > 2:
		return "", "", fmt.Errorf("too many arguments: %q", args[2:])
	case len(args) == 2 && prefix:
		return "", "", errors.New("unexpected endkey argument with --prefix flag")
	case len(args) == 2 && fromKey:
		return "", "", errors.New("unexpected endkey argument with --from-key flag")
	case len(args) == 2:
		return args[0], args[1], nil
	case args[0] == "" && (prefix || fromKey):
		return openEnd, openEnd, nil
	case prefix:
		return args[0], clientv3.GetPrefixRangeEnd(args[0]), nil
	case fromKey:
		return args[0], openEnd, nil
	}
	return args[0], "", nil
}

func roleAdd(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "role add command requires role name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleAdd(ctx, s.Args[0])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthRoleAddResponse)(r), "Role %s created", s.Args[0]))
	})
}

func roleDelete(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "role delete command requires role name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleDelete(ctx, s.Args[0])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthRoleDeleteResponse)(r), "Role %s deleted", s.Args[0]))
	})
}

func roleGet(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "role get command requires role name as its argument")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleGet(ctx, s.Args[0])
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(roleResponse(s.Args[0], (*etcdserverpb.AuthRoleGetResponse)(r)))
	})
}

func roleResponse(role string, m *etcdserverpb.AuthRoleGetResponse) response {
	return response{
		json: m, proto: m,
		simple: func(p *printer) {
			fmt.Fprintf(p, "Role %s\n", role)
			for _, kind := range []struct {
				title string
				one   authpb.Permission_Type
			}{{"KV Read:", authpb.READ}, {"KV Write:", authpb.WRITE}} {
				fmt.Fprintln(p, kind.title)
				for _, perm := range m.Perm {
					if perm.PermType == kind.one || perm.PermType == authpb.READWRITE {
						fmt.Fprintf(p, "\t%s\n", permissionText(string(perm.Key), string(perm.RangeEnd)))
					}
				}
			}
		},
		fields: func(p *printer) {
			p.header(m.Header)
			for _, perm := range m.Perm {
				fmt.Fprintf(p, "\"PermType\" :  %s\n\"Key\" : %q\n\"RangeEnd\" : %q\n", perm.PermType, string(perm.Key), string(perm.RangeEnd))
			}
		},
	}
}

// permissionText returns the keys of a permission as text.
func permissionText(key, end string) string {
	text := rangeText(key, end)
	if end != "" && end == clientv3.GetPrefixRangeEnd(key) {
		text += " (prefix " + key + ")"
	}
	return text
}

func rangeText(key, end string) string {
	switch end {
	case "":
		return key
	case openEnd:
		return "[" + key + ", <open ended>"
	}
	return "[" + key + ", " + end + ")"
}

func roleList(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 0 {
		return failf(exitArgs, "role list command requires no arguments")
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleList(ctx)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.AuthRoleListResponse)(r)
		return p.print(response{
			json: m, proto: m,
			simple: func(p *printer) {
				for _, role := range m.Roles {
					fmt.Fprintln(p, role)
				}
			},
			fields: func(p *printer) {
				p.header(m.Header)
				fmt.Fprint(p, "\"Roles\" :")
				for _, role := range m.Roles {
					fmt.Fprintf(p, " %q", role)
				}
				fmt.Fprintln(p)
			},
		})
	})
}

func roleGrant(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) < 3 {
		return failf(exitArgs, "role grant command requires role name, permission type, and key [endkey] as its argument")
	}
	kind, ok := authpb.Permission_Type_value[strings.ToUpper(s.Args[1])]
	if !ok {
		return failf(exitArgs, "invalid permission type: %s", s.Args[1])
	}
	key, end, err := permissionRange(s, s.Args[2:])
	if err != nil {
		return fail(exitArgs, err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleGrantPermission(ctx, s.Args[0], key, end, clientv3.PermissionType(kind))
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.AuthRoleGrantPermissionResponse)(r), "Role %s updated", s.Args[0]))
	})
}

func roleRevoke(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) < 2 {
		return failf(exitArgs, "role revoke-permission command requires role name and key [endkey] as its argument")
	}
	key, end, err := permissionRange(s, s.Args[1:])
	if err != nil {
		return fail(exitArgs, err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.RoleRevokePermission(ctx, s.Args[0], key, end)
		if err != nil {
			return fail(exitError, err)
		}
		what := "range " + rangeText(s.Args[1], end)
		if end == "" {
			what = "key " + key
		}
		return p.print(confirm((*etcdserverpb.AuthRoleRevokePermissionResponse)(r), "Permission of %s is revoked from role %s", what, s.Args[0]))
	})
}
