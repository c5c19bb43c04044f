package v3cmd

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var hashKVCommand = cli.Command{
	Path: "endpoint hashkv", Short: "print the hash of the key-value history of each endpoint",
	Long: "Prints endpoint, hash, and the revision that was hashed. Members of one cluster have the same hash at the same revision.\n" +
		"Hashes of cairn and of etcd are not comparable.",
	Example: "$ etcdctl endpoint hashkv --cluster --rev 42\nhttp://127.0.0.1:2379, 1084519789, 42",
	Flags: func(flags *pflag.FlagSet) {
		clusterFlag(flags)
		flags.Int64("rev", 0, "hash the history up to this `revision`; 0 means all of it")
	},
	Run: endpointHashKV,
}

// hashOf is the hash that an endpoint reported.
type hashOf struct {
	Endpoint string
	HashKV   *etcdserverpb.HashKVResponse
}

func endpointHashKV(s *cli.Session) error {
	p, err := begin(s, fields, jsonText, table)
	if err != nil {
		return err
	}
	revision := s.Int64("rev")
	responded, faults, err := responses(s, "hash", func(ctx context.Context, c *clientv3.Client, endpoint string) (hashOf, error) {
		r, err := c.HashKV(ctx, endpoint, revision)
		return hashOf{endpoint, (*etcdserverpb.HashKVResponse)(r)}, err
	})
	if err != nil {
		return err
	}
	if responded == nil {
		responded = []hashOf{} // as JSON [], not null
	}
	if err := p.print(hashResponse(responded)); err != nil {
		return err
	}
	if len(faults) > 0 {
		return fail(exitError, faults[len(faults)-1])
	}
	return nil
}

func hashResponse(list []hashOf) response {
	return response{
		json: list,
		simple: func(p *printer) {
			for _, h := range list {
				fmt.Fprintf(p, "%s, %d, %d\n", h.Endpoint, h.HashKV.Hash, h.HashKV.HashRevision)
			}
		},
		fields: func(p *printer) {
			for _, h := range list {
				p.header(h.HashKV.Header)
				fmt.Fprintf(p, "\"Endpoint\" : %q\n\"Hash\" : %d\n\"HashRevision\" : %d\n\n", h.Endpoint, h.HashKV.Hash, h.HashKV.HashRevision)
			}
		},
		table: func() (header []string, rows [][]string) {
			for _, h := range list {
				rows = append(rows, []string{h.Endpoint, fmt.Sprint(h.HashKV.Hash), fmt.Sprint(h.HashKV.HashRevision)})
			}
			return []string{"ENDPOINT", "HASH", "HASH REVISION"}, rows
		},
	}
}
