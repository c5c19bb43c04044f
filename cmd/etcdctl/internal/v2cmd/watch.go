package v2cmd

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var watchCommand = cli.Command{
	Path: "watch", Args: "<key>",
	Short:   "watch a key for changes",
	Long:    "Ends after the first change; with --forever it runs until interrupted. Changes of directories themselves are not printed.",
	Example: "$ etcdctl watch --forever --recursive /app\n[set] /app/mode\nblue",
	Flags: func(flags *pflag.FlagSet) {
		flags.BoolP("forever", "f", false, "run until interrupted (Ctrl-C)")
		watchFlags(flags)
	},
	Run: func(s *cli.Session) error {
		key, err := keyOf(s)
		if err != nil {
			return err
		}
		recursive := s.Bool("recursive")
		return follow(s, key, func(r *v2client.Response) (more bool, err error) {
			if r.Node.Dir {
				return true, nil
			}
			if recursive {
				fmt.Fprintf(s.Out, "[%s] %s\n", r.Action, r.Node.Key)
			}
			printResponse(s, r)
			return s.Bool("forever"), nil
		})
	},
}

func watchFlags(flags *pflag.FlagSet) {
	flags.Uint64("after-index", 0, "start with the first change after this `index`; 0 means the next change")
	flags.BoolP("recursive", "r", false, "watch the keys below the key as well")
}

// follow calls change for each change of a key until change returns false. An interrupt ends it
// without an error.
func follow(s *cli.Session, key string, change func(*v2client.Response) (more bool, err error)) error {
	c, err := connect(s)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(s)
	defer stop()
	next := s.Uint64("after-index")
	if next > 0 {
		next++
	}
	for {
		r, err := c.Watch(ctx, key, next, s.Bool("recursive"))
		if err != nil {
			if ctx.Err() != nil && s.Context.Err() == nil {
				return nil
			}
			return fail(exitServer, err)
		}
		if more, err := change(r); err != nil || !more {
			return err
		}
		next = r.Node.ModifiedIndex + 1
	}
}

// interruptible returns a context that an interrupt ends.
func interruptible(s *cli.Session) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(s.Context, os.Interrupt)
}
