// Package program assembles etcdctl from its packages, for the program itself and for its man
// pages.
//
// It owns nothing: cli is the framework and chooses the API of a command line; v2cmd and v3cmd have
// the commands of the two APIs, localcmd those that need no server.
//
// Concurrency: New makes an App; a process runs one command.
package program

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/localcmd"
	"cairn/cmd/etcdctl/internal/v2cmd"
	"cairn/cmd/etcdctl/internal/v3cmd"
)

// New returns etcdctl.
func New() *cli.App {
	return cli.New(cli.Dialects{
		Both: localcmd.Commands(),
		V2:   v2cmd.Commands(), V2Globals: v2cmd.Globals,
		V3: v3cmd.Commands(), V3Globals: v3cmd.Globals,
	})
}
