package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var getCommand = cli.Command{
	Path: "get", Args: "<key>",
	Short:   "print a key's value",
	Long:    "Of a directory there is no value: see ls.",
	Example: "$ etcdctl get /app/mode\nblue\n$ etcdctl -o extended get /app/mode",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("sort", false, "ask for sorted results")
		quorumFlag(flags)
		flags.Bool("consistent", false, "the same as --quorum")
	},
	Run: func(s *cli.Session) error {
		key, err := keyOf(s)
		if err != nil {
			return err
		}
		r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
			return c.Get(ctx, key, v2client.GetOptions{Sort: s.Bool("sort"), Quorum: s.Bool("quorum") || s.Bool("consistent")})
		})
		if err != nil {
			return err
		}
		if r.Node.Dir {
			return plain("%s: is a directory", r.Node.Key)
		}
		printResponse(s, r)
		return nil
	},
}

func quorumFlag(flags *pflag.FlagSet) {
	flags.BoolP("quorum", "q", false, "see all that was written before, on any member: ask a majority")
}
