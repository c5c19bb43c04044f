// Command etcdctl reads, writes and watches keys, and administers a cluster, over the v2 API and
// the v3 API.
//
// It only assembles its packages: cli is the framework and chooses the API of a command line; v2cmd
// and v3cmd have the commands of the two APIs, localcmd those that need no server.
package main

import (
	"context"
	"os"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/localcmd"
	"cairn/cmd/etcdctl/internal/v2cmd"
	"cairn/cmd/etcdctl/internal/v3cmd"
)

func main() { os.Exit(run()) }

// run runs the command line of this process and returns its exit code.
func run() int {
	app := cli.New(cli.Dialects{
		Both: localcmd.Commands(),
		V2:   v2cmd.Commands(), V2Globals: v2cmd.Globals,
		V3: v3cmd.Commands(), V3Globals: v3cmd.Globals,
	})
	return app.Run(context.Background(), os.Args[1:])
}
