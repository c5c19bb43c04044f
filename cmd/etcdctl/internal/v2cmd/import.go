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
	Short: "import the keys of a snapshot of etcd",
	Long: "The snapshot is a file of etcd 0.4 (snapshot/INDEX_TERM.ss) or of the v2 keys of etcd 2.0 to 3.5 (the newest *.snap of\n" +
		"member/snap in its data directory). Sets each key and creates each empty directory, with the remaining TTLs; expired keys\n" +
		"are skipped. Hidden keys at the root (/_name) are imported only with --hidden.",
	Example: "$ etcdctl import --snap /var/lib/etcd/member/snap/0000000000000002-0000000000002711.snap\nfinished importing 132 keys",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("snap", "", "snapshot `file`")
		flags.StringArray("hidden", nil, "import this hidden `key` of the root and the keys below it as well; may be repeated")
		flags.IntP("concurrency", "c", 10, "number of `keys` to set concurrently")
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
		// Not limited by --total-timeout; --timeout limits each response.
		if err := importAll(s.Context, c, nodes, workers); err != nil {
			return fail(exitServer, err)
		}
		fmt.Fprintf(s.Out, "finished importing %d keys\n", len(slices.DeleteFunc(nodes, func(n imported) bool { return n.dir })))
		return nil
	},
}

// leaveOutHidden removes the nodes below hidden keys of the root, except those in wanted.
func leaveOutHidden(nodes []imported, wanted []string) []imported {
	return slices.DeleteFunc(nodes, func(n imported) bool {
		top, _, _ := strings.Cut(strings.TrimPrefix(n.key, "/"), "/")
		return strings.HasPrefix(top, "_") && !slices.ContainsFunc(wanted, func(w string) bool { return strings.Trim(w, "/") == top })
	})
}

// importAll writes the nodes, directories first: a key would create its directory without the TTL.
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
		workers = 1 // a directory may be in another one
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
		return nil // only the first error is returned
	}
	_, err := c.Set(ctx, n.key, n.value, v2client.SetOptions{Dir: n.dir, TTL: n.ttl})
	var known *v2client.Error
	if n.dir && errors.As(err, &known) && known.Code == v2client.CodeNotFile {
		_, err = c.Set(ctx, n.key, "", v2client.SetOptions{Dir: true, PrevExist: new(true), TTL: n.ttl})
	}
	return err
}
