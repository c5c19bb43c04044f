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
	Short:   "drop the history of keys before a revision",
	Long:    "What keys are now stays, and so does their history from the revision on.",
	Example: "$ etcdctl compaction 1234\ncompacted revision 1234",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("physical", false, "wait until the old history is off the disk")
	},
	Run: func(s *cli.Session) error {
		// There is nothing in the answer to print in another format.
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
			if s.Bool("physical") { // takes as long as it takes
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
