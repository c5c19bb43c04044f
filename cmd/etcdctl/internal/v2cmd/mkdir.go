package v2cmd

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var mkdirCommand = cli.Command{
	Path: "mkdir", Args: "<key>",
	Short:   "create a directory that does not exist",
	Long:    "Creates its parent directories as well. Fails with error 105 if the directory, or a key of that name, exists.",
	Example: "$ etcdctl mkdir /app/instances --ttl 60",
	Flags:   ttlFlag,
	Run: func(s *cli.Session) error {
		return onDir(s, func(d dir) (*v2client.Response, error) { return d.set(new(false)) })
	},
}
