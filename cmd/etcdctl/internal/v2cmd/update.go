package v2cmd

import (
	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var updateCommand = cli.Command{
	Path: "update", Args: "<key> [value]",
	Short:   "update the value of an existing key",
	Long:    "Fails with error 100 if the key does not exist. Without a value argument the value is read from standard input.",
	Example: "$ etcdctl update /app/mode green\ngreen",
	Flags:   ttlFlag,
	Run: func(s *cli.Session) error {
		return write(s, v2client.SetOptions{PrevExist: new(true)})
	},
}
