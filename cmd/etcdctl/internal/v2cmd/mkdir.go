package v2cmd

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var mkdirCommand = cli.Command{
	Path: "mkdir", Args: "<key>",
	Short:   "make a directory that is not there yet",
	Long:    "Makes those above it, too. Fails with error 105 if the directory, or a key of that name, exists.",
	Example: "$ etcdctl mkdir /app/instances --ttl 60",
	Flags:   ttlFlag,
	Run: func(s *cli.Session) error {
		return onDir(s, func(d dir) (*v2client.Response, error) { return d.set(new(false)) })
	},
}
