package v2cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var getCommand = cli.Command{
	Path: "get", Args: "<key>",
	Short:   "get the value of a key",
	Long:    "A directory has no value: see ls.",
	Example: "$ etcdctl get /app/mode\nblue\n$ etcdctl -o extended get /app/mode",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("sort", false, "return sorted results")
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
			return withV3Hint(s, key, err)
		}
		if r.Node.Dir {
			return plain("%s: is a directory", r.Node.Key)
		}
		printResponse(s, r)
		return nil
	},
}

func quorumFlag(flags *pflag.FlagSet) {
	flags.BoolP("quorum", "q", false, "linearizable read: see every write completed before, on any member")
}

// withV3Hint adds a line to the error "Key not found" if the v3 API has a key of exactly this name,
// which is not visible in v2 because it does not begin with a slash.
func withV3Hint(s *cli.Session, key string, err error) error {
	var known *v2client.Error
	var exit *cli.Exit
	if strings.HasPrefix(key, "/") || !errors.As(err, &known) || known.Code != v2client.CodeNotFound || !errors.As(err, &exit) {
		return err
	}
	c, failed := connectAsGiven(s)
	if failed != nil {
		return err
	}
	ctx, cancel := limited(s)
	defer cancel()
	if has, failed := c.HasV3Key(ctx, key); failed == nil && has {
		exit.Message += fmt.Sprintf("the v3 API has a key %q, which v2 does not show: ETCDCTL_API=3 etcdctl get %s\n", key, key)
	}
	return err
}
