package v2cmd

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var rmdirCommand = cli.Command{
	Path: "rmdir", Args: "<key>",
	Short:   "remove an empty directory, or a key",
	Long:    "Fails with error 108 if the directory is not empty: see rm --recursive.",
	Example: "$ etcdctl rmdir /old",
	Run: func(s *cli.Session) error {
		return remove(s, v2client.DeleteOptions{Dir: true})
	},
}
