package v2cmd

import (
	"errors"
	"fmt"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var memberCommands = []cli.Command{
	{Path: "member", Short: "Manage the members of the cluster."},
	{
		Path: "member list", Short: "list the members of the cluster",
		Example: "$ etcdctl member list\n8e9e05c52164694d: name=default peerURLs=http://localhost:2380 clientURLs=http://localhost:2379 isLeader=true",
		Run:     memberList,
	},
	{
		Path: "member add", Args: "<name> <peer URL>[,<peer URL>…]", Short: "add a member to the cluster",
		Long: "Prints the environment variables for the etcd of the new member. Add members one at a time: until the new member is\n" +
			"started, it counts as a failed one. A lone member has no quorum until then.",
		Example: "$ etcdctl member add etcd3 http://192.168.1.100:2380\nAdded member named etcd3 with ID 7a3c… to cluster",
		Run:     memberAdd,
	},
	{
		Path: "member remove", Args: "<ID>", Short: "remove a member from the cluster",
		Example: "$ etcdctl member remove 8e9e05c52164694d\nRemoved member 8e9e05c52164694d from cluster",
		Run:     memberRemove,
	},
	{
		Path: "member update", Args: "<ID> <peer URL>[,<peer URL>…]", Short: "update the peer URLs of a member",
		Example: "$ etcdctl member update 8e9e05c52164694d http://192.168.1.100:2380\nUpdated member with ID 8e9e05c52164694d in cluster",
		Run:     memberUpdate,
	},
}

// exactly returns an error unless a command has n arguments.
func exactly(s *cli.Session, n int, usage string) error {
	if len(s.Args) == n {
		return nil
	}
	return plain("etcdctl %s: %d arguments given, want %s", usage, len(s.Args), wanted(n))
}

func wanted(n int) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1"
	}
	return fmt.Sprint(n)
}

// joined lists the endpoints of a client, as --debug prints them.
func joined(c *v2client.Client) string { return strings.Join(c.Endpoints(), ", ") }

// onCluster connects and runs the requests of a command about the cluster. Errors are printed
// without a prefix, as in etcd's etcdctl.
func onCluster(s *cli.Session, do func(dir) error) error {
	c, err := connect(s)
	if err != nil {
		return err
	}
	ctx, cancel := limited(s)
	defer cancel()
	if err := do(dir{ctx: ctx, client: c}); err != nil {
		return withAdvice(s, plain("%v", err), err)
	}
	return nil
}

func memberList(s *cli.Session) error {
	if err := exactly(s, 0, "member list"); err != nil {
		return err
	}
	return onCluster(s, func(d dir) error {
		members, err := d.client.Members(d.ctx)
		if err != nil {
			return err
		}
		leader, noLeader := d.client.Leader(d.ctx)
		for _, m := range members {
			if m.Name == "" {
				fmt.Fprintf(s.Out, "%s[unstarted]: peerURLs=%s\n", m.ID, strings.Join(m.PeerURLs, ","))
				continue
			}
			fmt.Fprintf(s.Out, "%s: name=%s peerURLs=%s clientURLs=%s isLeader=%t\n", m.ID, m.Name,
				strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), noLeader == nil && leader.ID == m.ID)
		}
		if noLeader != nil { // the list is useful without the leader as well
			return fmt.Errorf("Failed to get leader: %w", noLeader) //nolint:revive,staticcheck // etcdctl's own words
		}
		return nil
	})
}

func memberAdd(s *cli.Session) error {
	if err := exactly(s, 2, "member add <name> <peer URL>"); err != nil {
		return err
	}
	name, urls := s.Args[0], strings.Split(s.Args[1], ",")
	return onCluster(s, func(d dir) error {
		// On a terminal only: scripts know that 3.1 prints nothing to standard error.
		if cli.IsTerminal(s.Err) {
			if before, err := d.client.Members(d.ctx); err == nil {
				s.WarnQuorum(len(before), name)
			}
		}
		added, err := d.client.AddMember(d.ctx, urls)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Added member named %s with ID %s to cluster\n", name, added.ID)
		members, err := d.client.Members(d.ctx)
		if err != nil {
			return err
		}
		var cluster []string
		for _, m := range members {
			for _, u := range m.PeerURLs {
				if m.ID == added.ID {
					m.Name = name // a member publishes its name when it starts
				}
				cluster = append(cluster, m.Name+"="+u)
			}
		}
		fmt.Fprintf(s.Out, "\nETCD_NAME=%q\nETCD_INITIAL_CLUSTER=%q\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n", name, strings.Join(cluster, ","))
		return nil
	})
}

func memberRemove(s *cli.Session) error {
	if err := exactly(s, 1, "member remove <ID>"); err != nil {
		return err
	}
	id := s.Args[0]
	return onCluster(s, func(d dir) error {
		members, err := d.client.Members(d.ctx)
		if err != nil {
			return err
		}
		// The server would respond "404 page not found" to a name or a mistyped ID.
		for _, m := range members {
			if m.Name == id {
				return fmt.Errorf("%q is the name of the member %s: to remove it, use etcdctl member remove %s", id, m.ID, m.ID)
			}
			if m.ID != id {
				continue
			}
			if err := d.client.RemoveMember(d.ctx, id); err != nil {
				if len(members) == 1 {
					err = errOnlyMember
				}
				return fmt.Errorf("Received an error trying to remove member %s: %w", id, err) //nolint:revive,staticcheck // etcdctl's own words
			}
			fmt.Fprintf(s.Out, "Removed member %s from cluster\n", id)
			return nil
		}
		return fmt.Errorf("no member of the cluster has the ID %q: see 'etcdctl member list'", id)
	})
}

// errOnlyMember replaces the server's "Internal Server Error", of which the client makes a missing
// leader.
var errOnlyMember = errors.New("the only member of a cluster cannot be removed: to end the cluster, stop etcd; to move it, add another member first")

func memberUpdate(s *cli.Session) error {
	if err := exactly(s, 2, "member update <ID> <peer URL>"); err != nil {
		return err
	}
	id, urls := s.Args[0], strings.Split(s.Args[1], ",")
	return onCluster(s, func(d dir) error {
		if err := d.client.UpdateMember(d.ctx, id, urls); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "Updated member with ID %s in cluster\n", id)
		return nil
	})
}
