package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var rmCommand = cli.Command{
	Path: "rm", Args: "<key>",
	Short:   "remove a key or a directory",
	Long:    "Prints the value of the removed key; with --with-value and --with-index it prints an empty line.",
	Example: "$ etcdctl rm /app/mode\nPrevNode.Value: blue\n$ etcdctl rm --recursive /app",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("dir", false, "remove the key, or the empty directory")
		flags.BoolP("recursive", "r", false, "remove a directory and everything below it")
		flags.String("with-value", "", "remove the key only if this is its current `value`")
		flags.Uint64("with-index", 0, "remove the key only if this is its current modified `index`; 0 means any")
	},
	Run: func(s *cli.Session) error {
		return remove(s, v2client.DeleteOptions{
			Dir: s.Bool("dir"), Recursive: s.Bool("recursive"),
			PrevValue: s.String("with-value"), PrevIndex: s.Uint64("with-index"),
		})
	},
}

// remove deletes a key and prints its previous value; for a directory the format simple prints
// nothing.
func remove(s *cli.Session, o v2client.DeleteOptions) error {
	key, err := keyOf(s)
	if err != nil {
		return err
	}
	r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
		return c.Delete(ctx, key, o)
	})
	if err != nil {
		return err
	}
	if r.Node.Dir {
		printDir(s, r)
	} else {
		printResponse(s, r)
	}
	return nil
}
