package v3cmd

import (
	"fmt"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/version"
)

var versionCommand = cli.Command{
	Path: "version", Short: "print the version",
	Example: "$ etcdctl version\netcdctl version: " + version.API + "\nAPI version: " + version.Minor + "\nCairn Version: " + version.Cairn,
	Run: func(s *cli.Session) error {
		fmt.Fprintf(s.Out, "etcdctl version: %s\nAPI version: %s\nCairn Version: %s\n", version.API, cli.APIVersion(cli.V3), version.Cairn)
		return nil
	},
}
