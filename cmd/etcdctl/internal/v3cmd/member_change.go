package v3cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"cairn/cmd/etcdctl/internal/cli"
)

var memberCommands = []cli.Command{
	memberListCommand,
	{
		Path: "member add", Args: "<name>", Short: "let a member join",
		Long: "Prints the variables that the new member's etcd is to be started with. One that is added as a learner has no vote until it is\n" +
			"promoted, so that the cluster does not wait for it while it gets the data.",
		Example: "$ ETCDCTL_API=3 etcdctl member add n4 --peer-urls http://10.0.0.4:2380 --learner\nMember 9bf1b35fc7761a23 added to cluster 7ea27429e9f72fc1",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("peer-urls", "", "where the members reach the new one, as `URLS` with commas between them")
			flags.Bool("learner", false, "without a vote at first")
		},
		Run: memberAdd,
	},
	{
		Path: "member remove", Args: "<ID>", Short: "remove a member",
		Example: "$ ETCDCTL_API=3 etcdctl member remove 9bf1b35fc7761a23\nMember 9bf1b35fc7761a23 removed from cluster 7ea27429e9f72fc1", Run: memberRemove,
	},
	{
		Path: "member update", Args: "<ID>", Short: "give a member other peer URLs",
		Example: "$ ETCDCTL_API=3 etcdctl member update 9bf1b35fc7761a23 --peer-urls http://10.0.0.5:2380\nMember 9bf1b35fc7761a23 updated in cluster 7ea27429e9f72fc1",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("peer-urls", "", "where the members reach it, as `URLS` with commas between them")
		},
		Run: memberUpdate,
	},
	{
		Path: "member promote", Args: "<ID>", Short: "give a learner a vote",
		Example: "$ etcdctl member promote 9bf1b35fc7761a23\nMember 9bf1b35fc7761a23 promoted in cluster 7ea27429e9f72fc1", Run: memberPromote,
	},
	memberReplaceCommand,
}

// withoutFields are the formats of answers about changed members.
var withoutFields = []string{jsonText, protobuf}

// memberID returns the first argument, a member's ID.
func memberID(s *cli.Session) (uint64, error) {
	if len(s.Args) != 1 {
		return 0, failf(exitArgs, "member ID is not provided")
	}
	id, err := strconv.ParseUint(s.Args[0], 16, 64)
	if err != nil {
		return 0, failf(exitArgs, "bad member ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}

func peerURLsOf(s *cli.Session) ([]string, error) {
	text := s.String("peer-urls")
	if text == "" {
		return nil, failf(exitArgs, "member peer urls not provided")
	}
	return strings.Split(text, ","), nil
}

func memberAdd(s *cli.Session) error {
	p, err := begin(s, withoutFields...)
	if err != nil {
		return err
	}
	switch {
	case len(s.Args) < 1:
		return failf(exitArgs, "member name not provided")
	case len(s.Args) > 1:
		return failf(exitArgs, "too many arguments")
	}
	urls, err := peerURLsOf(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		add := c.MemberAdd
		if s.Bool("learner") {
			add = c.MemberAddAsLearner
		}
		r, err := add(ctx, urls)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.MemberAddResponse)(r)
		return p.print(answer{json: m, proto: m, simple: func(p *printer) {
			fmt.Fprintf(p, "Member %16x added to cluster %16x\n", m.Member.ID, m.Header.ClusterId)
			fmt.Fprintln(p)
			fmt.Fprint(p, startVariables(s.Args[0], m.Member, m.Members))
		}})
	})
}

// startVariables are what a new member's etcd is to be started with.
func startVariables(name string, added *etcdserverpb.Member, members []*etcdserverpb.Member) string {
	var all []string
	for _, m := range members {
		of := m.Name
		if m.ID == added.ID {
			of = name
		}
		for _, u := range m.PeerURLs {
			all = append(all, of+"="+u)
		}
	}
	return fmt.Sprintf("ETCD_NAME=%q\nETCD_INITIAL_CLUSTER=%q\nETCD_INITIAL_ADVERTISE_PEER_URLS=%q\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
		name, strings.Join(all, ","), strings.Join(added.PeerURLs, ","))
}

// beginChange reads what the commands that change one member have in common.
func beginChange(s *cli.Session) (p *printer, id uint64, err error) {
	if p, err = begin(s, withoutFields...); err != nil {
		return nil, 0, err
	}
	id, err = memberID(s)
	return p, id, err
}

// changed prints what became of the member: how says it, up to the word cluster.
func (p *printer) changed(id uint64, how string, m interface {
	proto.Message
	GetHeader() *etcdserverpb.ResponseHeader
},
) error {
	return p.print(answer{json: m, proto: m, simple: func(p *printer) {
		fmt.Fprintf(p, "Member %16x %s cluster %16x\n", id, how, m.GetHeader().GetClusterId())
	}})
}

func memberRemove(s *cli.Session) error {
	p, id, err := beginChange(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberRemove(ctx, id)
		if err != nil {
			return fail(exitError, err)
		}
		return p.changed(id, "removed from", (*etcdserverpb.MemberRemoveResponse)(r))
	})
}

func memberUpdate(s *cli.Session) error {
	p, id, err := beginChange(s)
	if err != nil {
		return err
	}
	urls, err := peerURLsOf(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberUpdate(ctx, id, urls)
		if err != nil {
			return fail(exitError, err)
		}
		return p.changed(id, "updated in", (*etcdserverpb.MemberUpdateResponse)(r))
	})
}

func memberPromote(s *cli.Session) error {
	p, id, err := beginChange(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberPromote(ctx, id)
		if err != nil {
			return fail(exitError, err)
		}
		return p.changed(id, "promoted in", (*etcdserverpb.MemberPromoteResponse)(r))
	})
}
