package v2cmd

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var updatedirCommand = cli.Command{
	Path: "updatedir", Args: "<key>",
	Short:   "update the TTL of a directory",
	Long:    "Fails with error 100 if the directory does not exist. Without --ttl its TTL is removed.",
	Example: "$ etcdctl updatedir /app/instances --ttl 60",
	Flags:   ttlFlag,
	Run: func(s *cli.Session) error {
		return onDir(s, func(d dir) (*v2client.Response, error) { return d.set(new(true)) })
	},
}
