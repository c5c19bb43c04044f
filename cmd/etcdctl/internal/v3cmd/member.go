package v3cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var memberListCommand = cli.Command{
	Path: "member list", Short: "list the members of the cluster",
	Long:    "In the format simple: ID, status, name, peer URLs, client URLs, is learner.",
	Example: "$ ETCDCTL_API=3 etcdctl member list\n8e9e05c52164694d, started, default, http://localhost:2380, http://localhost:2379, false",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("consistency", "l", "linearizable (`l`) or serializable (s): the list of the responding member, also without a leader")
	},
	Run: func(s *cli.Session) error {
		p, err := begin(s, fields, jsonText, protobuf, table)
		if err != nil {
			return err
		}
		var opts []clientv3.OpOption
		switch consistency := s.String("consistency"); consistency {
		case "l":
		case "s":
			opts = append(opts, clientv3.WithSerializable())
		default:
			return failf(exitFeature, "unknown consistency flag %q", consistency)
		}
		return call(s, func(ctx context.Context, c *clientv3.Client) error {
			r, err := c.MemberList(ctx, opts...)
			if err != nil {
				return fail(exitError, err)
			}
			return p.print(memberListResponse((*etcdserverpb.MemberListResponse)(r)))
		})
	},
}

func memberListResponse(r *etcdserverpb.MemberListResponse) response {
	rows := func() (header []string, rows [][]string) {
		for _, m := range r.Members {
			status := "started"
			if m.Name == "" {
				status = "unstarted"
			}
			rows = append(rows, []string{
				fmt.Sprintf("%x", m.ID), status, m.Name,
				strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), strconv.FormatBool(m.IsLearner),
			})
		}
		return []string{"ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"}, rows
	}
	return response{
		json: r, proto: r, table: rows,
		simple: func(p *printer) {
			_, rows := rows()
			for _, row := range rows {
				fmt.Fprintln(p, strings.Join(row, ", "))
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			for _, m := range r.Members {
				fmt.Fprintf(p, "\"ID\" : %s\n\"Name\" : %q\n", p.id(m.ID), m.Name)
				for _, u := range m.PeerURLs {
					fmt.Fprintf(p, "\"PeerURL\" : %q\n", u)
				}
				for _, u := range m.ClientURLs {
					fmt.Fprintf(p, "\"ClientURL\" : %q\n", u)
				}
				fmt.Fprintf(p, "\"IsLearner\" : %t\n\n", m.IsLearner)
			}
		},
	}
}
