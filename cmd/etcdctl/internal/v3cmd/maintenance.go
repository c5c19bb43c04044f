package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var maintenanceCommands = []cli.Command{
	{Path: "alarm", Short: "List and disarm alarms."},
	{
		Path: "alarm list", Short: "list the alarms", Example: "$ etcdctl alarm list\nmemberID:10276657743932975437 alarm:NOSPACE ",
		Run: func(s *cli.Session) error { return alarms(s, "list", (*clientv3.Client).AlarmList) },
	},
	{
		Path: "alarm disarm", Short: "disarm all alarms", Long: "Prints the alarms that it has disarmed.",
		Example: "$ etcdctl alarm disarm\nmemberID:10276657743932975437 alarm:NOSPACE ",
		Run: func(s *cli.Session) error {
			return alarms(s, "disarm", func(c *clientv3.Client, ctx context.Context) (*clientv3.AlarmResponse, error) {
				return c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
			})
		},
	},
	{
		Path: "defrag", Short: "defragment the storage of the endpoints",
		Long: "A cairn member has nothing to defragment and responds at once. An etcd member does not serve requests meanwhile.", Example: "$ etcdctl defrag --cluster\nFinished defragmenting etcd member[http://127.0.0.1:2379]",
		Flags: func(flags *pflag.FlagSet) {
			clusterFlag(flags)
			flags.String("data-dir", "", "not supported: a data `directory` of cairn has nothing to defragment, one of etcd needs etcdutl")
		},
		Run: defragment,
	},
	{
		Path: "move-leader", Args: "<ID>", Short: "transfer leadership to another member",
		Long: "The leader must be among the --endpoints.", Example: "$ etcdctl --endpoints n1:2379,n2:2379,n3:2379 move-leader 9bf1b35fc7761a23\nLeadership transferred from 8211f1d0f64f3269 to 9bf1b35fc7761a23",
		Run: moveLeader,
	},
	{Path: "downgrade", Short: "Downgrade the cluster to an older version."},
	downgradeCommand("validate", clientv3.DowngradeValidate, "validate that the cluster can be downgraded to a version"),
	downgradeCommand("enable", clientv3.DowngradeEnable, "enable the downgrade: allow members of an older version"),
	{
		Path: "downgrade cancel", Short: "cancel the ongoing downgrade", Example: "$ etcdctl downgrade cancel\nDowngrade cancel success, cluster version 3.7",
		Run: func(s *cli.Session) error { return downgrade(s, "cancel", clientv3.DowngradeCancel) },
	},
}

func alarms(s *cli.Session, name string, ask func(*clientv3.Client, context.Context) (*clientv3.AlarmResponse, error)) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 0 {
		return failf(exitArgs, "alarm %s command accepts no arguments", name)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := ask(c, ctx)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.AlarmResponse)(r)
		return p.print(response{
			json: m, proto: m,
			simple: func(p *printer) {
				for _, a := range m.Alarms {
					fmt.Fprintf(p, "memberID:%s alarm:%s \n", p.id(a.MemberID), a.Alarm)
				}
			},
			fields: func(p *printer) {
				p.header(m.Header)
				for _, a := range m.Alarms {
					fmt.Fprintf(p, "\"MemberID\" : %s\n\"AlarmType\" : %q\n\n", p.id(a.MemberID), a.Alarm.String())
				}
			},
		})
	})
}

func defragment(s *cli.Session) error {
	// Every format prints the same lines.
	if _, err := begin(s, fields, jsonText, protobuf, table); err != nil {
		return err
	}
	if dir := s.String("data-dir"); dir != "" {
		return failf(exitArgs, "--data-dir %s: a data directory of cairn has nothing to defragment; for one of etcd use etcd's etcdutl defrag", dir)
	}
	endpoints, config, err := asked(s)
	if err != nil {
		return err
	}
	var faults []error
	// Sequentially: an etcd member does not serve requests while it defragments.
	for _, endpoint := range endpoints {
		if err := defragmentOne(s, config, endpoint); err != nil {
			fmt.Fprintf(s.Err, "Failed to defragment etcd member[%s] (%v)\n", endpoint, err)
			faults = append(faults, err)
			continue
		}
		fmt.Fprintf(s.Out, "Finished defragmenting etcd member[%s]\n", endpoint)
	}
	if len(faults) > 0 {
		return &cli.Exit{Code: exitError, Err: clusterFault(faults)}
	}
	return nil
}

func defragmentOne(s *cli.Session, config clientv3.Config, endpoint string) error {
	config.Endpoints = []string{endpoint}
	c, err := clientv3.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := limited(s)
	defer cancel()
	_, err = c.Defragment(ctx, endpoint)
	return err
}

func moveLeader(s *cli.Session) error {
	p, err := begin(s, jsonText, protobuf)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "move-leader command needs 1 argument")
	}
	target, err := strconv.ParseUint(s.Args[0], 16, 64)
	if err != nil {
		return fail(exitArgs, err)
	}
	endpoints, err := endpointsOf(s)
	if err != nil {
		return err
	}
	config, err := configOf(s, endpoints)
	if err != nil {
		return err
	}
	type said struct {
		r   *clientv3.StatusResponse
		err error
	}
	all := each(s, endpoints, config, func(ctx context.Context, c *clientv3.Client, endpoint string) said {
		r, err := c.Status(ctx, endpoint)
		return said{r, err}
	}, func(_ string, err error) said { return said{nil, err} })
	i := slices.IndexFunc(all, func(x said) bool { return x.err == nil && x.r.Leader == x.r.Header.MemberId })
	if i < 0 {
		var faults []error
		for _, x := range all {
			faults = append(faults, x.err)
		}
		if err := errors.Join(faults...); err != nil {
			return fail(exitError, err)
		}
		return failf(exitArgs, "no leader endpoint given at %v", endpoints)
	}
	config.Endpoints = endpoints[i : i+1]
	c, err := open(config)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := limited(s)
	defer cancel()
	r, err := c.MoveLeader(ctx, target)
	if err != nil {
		return fail(exitError, err)
	}
	return p.print(response{proto: (*etcdserverpb.MoveLeaderResponse)(r), json: r, simple: func(p *printer) {
		fmt.Fprintf(p, "Leadership transferred from %x to %x\n", all[i].r.Leader, target)
	}})
}

func downgradeCommand(name string, action clientv3.DowngradeAction, short string) cli.Command {
	return cli.Command{
		Path: "downgrade " + name, Args: "<version>", Short: short,
		Example: fmt.Sprintf("$ etcdctl downgrade %s 3.6\nDowngrade %s success, cluster version 3.7", name, name),
		Run:     func(s *cli.Session) error { return downgrade(s, name, action) },
	}
}

func downgrade(s *cli.Session, name string, action clientv3.DowngradeAction) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	version := ""
	switch {
	case action == clientv3.DowngradeCancel && len(s.Args) > 0:
		return failf(exitArgs, "downgrade cancel takes no arguments")
	case action == clientv3.DowngradeCancel:
	case len(s.Args) < 1:
		return failf(exitArgs, "TARGET_VERSION not provided")
	case len(s.Args) > 1:
		return failf(exitArgs, "too many arguments")
	default:
		version = s.Args[0]
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Downgrade(ctx, action, version)
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(confirm((*etcdserverpb.DowngradeResponse)(r), "Downgrade %s success, cluster version %s", name, r.Version))
	})
}
