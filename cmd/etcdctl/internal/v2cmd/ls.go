package v2cmd

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var lsCommand = cli.Command{
	Path: "ls", Args: "[key]",
	Short:   "list a directory",
	Long:    "Lists the root without an argument. Names that begin with _ are hidden: they are listed only if given by name.",
	Example: "$ etcdctl ls --recursive -p /\n/app/\n/app/mode",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("sort", false, "sort the result")
		flags.BoolP("recursive", "r", false, "list subdirectories recursively")
		flags.BoolP("p", "p", false, "append a slash to directories")
		quorumFlag(flags)
	},
	Run: func(s *cli.Session) error {
		key := "/"
		if args := arguments(s); len(args) > 0 {
			key = args[0]
		}
		r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
			return c.Get(ctx, key, v2client.GetOptions{Sort: s.Bool("sort"), Recursive: s.Bool("recursive"), Quorum: s.Bool("quorum")})
		})
		if err != nil {
			return err
		}
		if s.String("output") != simple {
			printResponse(s, r)
			return nil
		}
		out := bufio.NewWriter(s.Out)
		if !r.Node.Dir {
			fmt.Fprintln(out, r.Node.Key)
		}
		list(out, r.Node.Nodes, s.Bool("p"))
		return out.Flush()
	},
}

// list prints the keys of nodes and of the nodes below them.
func list(w io.Writer, nodes []*v2client.Node, slash bool) {
	for _, n := range nodes {
		if n.Dir && slash {
			fmt.Fprintln(w, n.Key+"/")
		} else {
			fmt.Fprintln(w, n.Key)
		}
		list(w, n.Nodes, slash)
	}
}
