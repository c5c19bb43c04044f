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
	"cairn/internal/membership"
)

var memberCommands = []cli.Command{
	memberListCommand,
	{
		Path: "member add", Args: "<name>", Short: "add a member to the cluster",
		Long: "Prints the environment variables for the etcd of the new member. A learner has no vote until it is promoted, so that the\n" +
			"cluster's quorum does not depend on it while it receives the data.",
		Example: "$ ETCDCTL_API=3 etcdctl member add n4 --peer-urls http://10.0.0.4:2380 --learner\nMember 9bf1b35fc7761a23 added as learner to cluster 7ea27429e9f72fc1",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("peer-urls", "", "peer `URLS` of the new member, separated by commas")
			flags.Bool("learner", false, "add the member as a learner, without a vote")
		},
		Run: memberAdd,
	},
	{
		Path: "member remove", Args: "<ID>", Short: "remove a member from the cluster",
		Example: "$ ETCDCTL_API=3 etcdctl member remove 9bf1b35fc7761a23\nMember 9bf1b35fc7761a23 removed from cluster 7ea27429e9f72fc1", Run: memberRemove,
	},
	{
		Path: "member update", Args: "<ID>", Short: "update the peer URLs of a member",
		Example: "$ ETCDCTL_API=3 etcdctl member update 9bf1b35fc7761a23 --peer-urls http://10.0.0.5:2380\nMember 9bf1b35fc7761a23 updated in cluster 7ea27429e9f72fc1",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("peer-urls", "", "new peer `URLS` of the member, separated by commas")
		},
		Run: memberUpdate,
	},
	{
		Path: "member promote", Args: "<ID>", Short: "promote a learner to a voting member",
		Long:    "Warns before if the learner does not answer: the server checks only how far the learner was.",
		Example: "$ etcdctl member promote 9bf1b35fc7761a23\nMember 9bf1b35fc7761a23 promoted in cluster 7ea27429e9f72fc1", Run: memberPromote,
	},
	memberReplaceCommand,
}

// withoutFields lists the formats of the commands that change members.
var withoutFields = []string{jsonText, protobuf}

// memberID returns the only argument, the ID of a member.
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
		add, how := c.MemberAdd, "added to"
		if s.Bool("learner") {
			add, how = c.MemberAddAsLearner, "added as learner to"
		} else if _, refused := membership.ParseURLs(urls); refused == nil {
			if err := warnQuorum(ctx, s, c); err != nil {
				return err
			}
		}
		r, err := add(ctx, urls)
		if err != nil {
			return fail(exitError, err)
		}
		m := (*etcdserverpb.MemberAddResponse)(r)
		return p.print(response{json: m, proto: m, simple: func(p *printer) {
			fmt.Fprintf(p, "Member %16x %s cluster %16x\n", m.Member.ID, how, m.Header.ClusterId)
			fmt.Fprintln(p)
			fmt.Fprint(p, startVariables(s.Args[0], m.Member, m.Members))
		}})
	})
}

// warnQuorum warns before a change that makes the quorum depend on the new member.
func warnQuorum(ctx context.Context, s *cli.Session, c *clientv3.Client) error {
	r, err := c.MemberList(ctx)
	if err != nil {
		return fail(exitError, err)
	}
	voters := 0
	for _, m := range r.Members {
		if !m.GetIsLearner() {
			voters++
		}
	}
	s.WarnQuorum(voters, s.Args[0])
	return nil
}

// startVariables returns the environment variables for the etcd of a new member.
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

// beginChange returns the printer and the member ID of a command that changes one member.
func beginChange(s *cli.Session) (p *printer, id uint64, err error) {
	if p, err = begin(s, withoutFields...); err != nil {
		return nil, 0, err
	}
	id, err = memberID(s)
	return p, id, err
}

// changed prints the result of a change; how is the text between the member ID and "cluster".
func (p *printer) changed(id uint64, how string, m interface {
	proto.Message
	GetHeader() *etcdserverpb.ResponseHeader
},
) error {
	return p.print(response{json: m, proto: m, simple: func(p *printer) {
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
		if err := warnPromotion(ctx, s, c, id); err != nil {
			return err
		}
		r, err := c.MemberPromote(ctx, id)
		if err != nil {
			return fail(exitError, err)
		}
		return p.changed(id, "promoted in", (*etcdserverpb.MemberPromoteResponse)(r))
	})
}
