package v2cmd

import (
	"fmt"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var memberCommands = []cli.Command{
	{Path: "member", Short: "Look after the members of the cluster."},
	{
		Path: "member list", Short: "list the members",
		Example: "$ etcdctl member list\n8e9e05c52164694d: name=default peerURLs=http://localhost:2380 clientURLs=http://localhost:2379 isLeader=true",
		Run:     memberList,
	},
	{
		Path: "member add", Args: "<name> <peer URL>[,<peer URL>…]", Short: "add a member",
		Long: "Prints what the new member needs to know when it is started. Add members one by one: until the new one runs, it\n" +
			"counts as one that is down.",
		Example: "$ etcdctl member add etcd3 http://192.168.1.100:2380\nAdded member named etcd3 with ID 7a3c… to cluster",
		Run:     memberAdd,
	},
	{
		Path: "member remove", Args: "<ID>", Short: "remove a member",
		Example: "$ etcdctl member remove 8e9e05c52164694d\nRemoved member 8e9e05c52164694d from cluster",
		Run:     memberRemove,
	},
	{
		Path: "member update", Args: "<ID> <peer URL>[,<peer URL>…]", Short: "change the URLs at which a member's peers find it",
		Example: "$ etcdctl member update 8e9e05c52164694d http://192.168.1.100:2380\nUpdated member with ID 8e9e05c52164694d in cluster",
		Run:     memberUpdate,
	},
}

// exactly is the error for a command that does not have the arguments it needs.
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

// onCluster connects and runs what a command about the cluster does, with an error that is printed
// as it is.
func onCluster(s *cli.Session, do func(dir) error) error {
	c, err := connect(s)
	if err != nil {
		return err
	}
	ctx, cancel := limited(s)
	defer cancel()
	if err := do(dir{ctx: ctx, client: c}); err != nil {
		return plain("%v", err)
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
		if noLeader != nil { // the list is worth having all the same
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
					m.Name = name // which it will tell only when it is started
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
		// Asked of the server, a name or a typing error would be "404 page not found".
		for _, m := range members {
			if m.Name == id {
				return fmt.Errorf("%q is the name of the member %s: if it is the one, etcdctl member remove %s", id, m.ID, m.ID)
			}
			if m.ID != id {
				continue
			}
			if err := d.client.RemoveMember(d.ctx, id); err != nil {
				return fmt.Errorf("Received an error trying to remove member %s: %w", id, err) //nolint:revive,staticcheck // etcdctl's own words
			}
			fmt.Fprintf(s.Out, "Removed member %s from cluster\n", id)
			return nil
		}
		return fmt.Errorf("no member of the cluster has the ID %q: see 'etcdctl member list'", id)
	})
}

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
