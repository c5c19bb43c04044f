package v3cmd

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var compactionCommand = cli.Command{
	Path: "compaction", Args: "<revision>",
	Short:   "compact the history of keys before a revision",
	Long:    "Current key-value pairs, and the history from the revision on, are kept.",
	Example: "$ etcdctl compaction 1234\ncompacted revision 1234",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("physical", false, "wait until the compacted history has been removed from disk")
	},
	Run: func(s *cli.Session) error {
		// Every format prints the same line.
		if _, err := begin(s, fields, jsonText, protobuf, table); err != nil {
			return err
		}
		if len(s.Args) != 1 {
			return failf(exitArgs, "compaction command needs 1 argument")
		}
		revision, err := strconv.ParseInt(s.Args[0], 10, 64)
		if err != nil {
			return fail(exitError, err)
		}
		var opts []clientv3.CompactOption
		if s.Bool("physical") {
			opts = append(opts, clientv3.WithCompactPhysical())
		}
		return call(s, func(ctx context.Context, c *clientv3.Client) error {
			if s.Bool("physical") { // not limited by --command-timeout
				ctx = s.Context
			}
			if _, err := c.Compact(ctx, revision, opts...); err != nil {
				return fail(exitError, err)
			}
			fmt.Fprintf(s.Out, "compacted revision %d\n", revision)
			return nil
		})
	},
}
