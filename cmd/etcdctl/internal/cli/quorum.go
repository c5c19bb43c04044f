package cli

import "fmt"

// WarnQuorum prints to standard error what adding a voting member does to the quorum, if the
// cluster cannot lose the new member until it has started: before a lone member gets a second one.
func (s *Session) WarnQuorum(voters int, name string) {
	if voters != 1 {
		return
	}
	fmt.Fprintf(s.Err, "the cluster has 1 voting member; with 2 it needs both: it serves no writes until %q is started.\n"+
		"Start %q as soon as this command has printed how. If it cannot be started, restart the present member with --force-new-cluster.\n", name, name)
}
