package v2cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var importCommand = cli.Command{
	Path:  "import",
	Short: "set the keys of a snapshot that etcd wrote",
	Long: "The snapshot is a file of etcd 0.4 (snapshot/INDEX_TERM.ss) or of the v2 keys of etcd 2.0 to 3.5 (the newest *.snap of\n" +
		"member/snap in its data directory). Each of its keys is set, each empty directory made; TTLs go on with what was left of\n" +
		"them, and what has expired meanwhile is left out. Keys that are hidden at the top (/_name) come only with --hidden.",
	Example: "$ etcdctl import --snap /var/lib/etcd/member/snap/0000000000000002-0000000000002711.snap\nfinished importing 132 keys",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("snap", "", "the snapshot, a `file`")
		flags.StringArray("hidden", nil, "import this hidden `key` of the top, too, with all below it; may be given again")
		flags.IntP("concurrency", "c", 10, "how many `keys` to set at the same time")
	},
	Run: func(s *cli.Session) error {
		path, workers := s.String("snap"), value(s.Flags.GetInt("concurrency"))
		switch {
		case path == "":
			return plain("no snapshot: give --snap FILE")
		case workers < 1:
			return plain("-c %d: want at least 1", workers)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			return plain("%v", err)
		}
		nodes, err := readSnapshot(file, time.Now())
		if err != nil {
			return plain("%s: %v", path, err)
		}
		nodes = leaveOutHidden(nodes, value(s.Flags.GetStringArray("hidden")))
		c, err := connect(s)
		if err != nil {
			return err
		}
		// It takes as long as it takes; --timeout is for each answer.
		if err := importAll(s.Context, c, nodes, workers); err != nil {
			return fail(exitServer, err)
		}
		fmt.Fprintf(s.Out, "finished importing %d keys\n", len(slices.DeleteFunc(nodes, func(n imported) bool { return n.dir })))
		return nil
	},
}

// leaveOutHidden removes what is below a hidden key of the top, other than the keys given.
func leaveOutHidden(nodes []imported, wanted []string) []imported {
	return slices.DeleteFunc(nodes, func(n imported) bool {
		top, _, _ := strings.Cut(strings.TrimPrefix(n.key, "/"), "/")
		return strings.HasPrefix(top, "_") && !slices.ContainsFunc(wanted, func(w string) bool { return strings.Trim(w, "/") == top })
	})
}

// importAll writes the nodes: directories with a TTL first, since a key in one makes it without.
func importAll(ctx context.Context, c *v2client.Client, nodes []imported, workers int) error {
	for _, dirs := range []bool{true, false} {
		if err := importSome(ctx, c, nodes, dirs, workers); err != nil {
			return err
		}
	}
	return nil
}

func importSome(ctx context.Context, c *v2client.Client, nodes []imported, dirs bool, workers int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if dirs {
		workers = 1 // one may lie in another
	}
	next := make(chan imported)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n := range next {
				if err := n.write(ctx, c); err != nil {
					cancel(fmt.Errorf("%s: %w", n.key, err))
				}
			}
		})
	}
	for _, n := range nodes {
		if n.dir == dirs && ctx.Err() == nil {
			next <- n
		}
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

func (n *imported) write(ctx context.Context, c *v2client.Client) error {
	if ctx.Err() != nil {
		return nil // the first error counts
	}
	_, err := c.Set(ctx, n.key, n.value, v2client.SetOptions{Dir: n.dir, TTL: n.ttl})
	var known *v2client.Error
	if n.dir && errors.As(err, &known) && known.Code == v2client.CodeNotFile {
		_, err = c.Set(ctx, n.key, "", v2client.SetOptions{Dir: true, PrevExist: new(true), TTL: n.ttl})
	}
	return err
}
