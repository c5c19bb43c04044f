package v2cmd

import (
	"fmt"

	"cairn/cmd/etcdctl/internal/cli"
)

var authCommands = []cli.Command{
	{Path: "auth", Short: "Enable and disable authentication."},
	{
		Path: "auth enable", Short: "enable authentication",
		Long: "The user root must exist: etcdctl user add root. Requests without a user have the permissions of the role guest, which allows\n" +
			"everything until it is restricted: etcdctl role revoke --path '/*' --readwrite guest.",
		Example: "$ etcdctl auth enable\nAuthentication Enabled",
		Run:     func(s *cli.Session) error { return setAuth(s, "auth enable", true, "Authentication Enabled") },
	},
	{
		Path: "auth disable", Short: "disable authentication",
		Example: "$ etcdctl -u root:secret auth disable\nAuthentication Disabled",
		Run:     func(s *cli.Session) error { return setAuth(s, "auth disable", false, "Authentication Disabled") },
	},
}

// onUsers is onCluster for users and roles. As in etcd, --debug prints the endpoints once more.
func onUsers(s *cli.Session, do func(dir) error) error {
	return onCluster(s, func(d dir) error {
		if s.Bool("debug") {
			fmt.Fprintf(s.Err, "Cluster-Endpoints: %s\n", joined(d.client))
		}
		return do(d)
	})
}

func setAuth(s *cli.Session, path string, on bool, done string) error {
	if err := exactly(s, 0, path); err != nil {
		return err
	}
	return onUsers(s, func(d dir) error {
		if err := d.client.SetAuth(d.ctx, on); err != nil {
			return err
		}
		fmt.Fprintln(s.Out, done)
		return nil
	})
}
