package v2diff

import (
	"strings"
	"testing"

	"cairn/test/harness"
)

// TestEtcdctlUsers runs random command lines about users and roles while authentication is
// disabled. It uses no keys, because in Debian's etcd users and roles have indexes.
func TestEtcdctlUsers(t *testing.T) {
	harness.Needs(t, debianEtcdctl, "etcd-client")
	for _, seed := range seeds(t, 1, 1) {
		p := newPair(t) // users and roles belong to the server, not to the seed
		g := newGenerator(seed)
		var before []string
		for range commandsPerSeed {
			args, stdin := g.userCommand()
			before = append(before, strings.Join(args, " "))
			ours := p.ours.s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...), Env: []string{"ETCDCTL_API=2"}, Stdin: stdin})
			theirs := p.theirs.s.Run(t, harness.Command{Args: append([]string{debianEtcdctl}, args...), Env: []string{"ETCDCTL_API=2"}, Stdin: stdin})
			how := commandsDiffer(ours, theirs)
			if how == "" && args[0] == "--debug" {
				at := strings.NewReplacer(p.ours.s.URL(), "URL", p.theirs.s.URL(), "URL")
				if curls(at.Replace(ours.Stderr)) != curls(at.Replace(theirs.Stderr)) {
					how = "requests"
				}
			}
			if how != "" {
				t.Errorf("seed %d: etcdctl %q <%q\nthey differ in the %s\nours   %+v\ntheirs %+v\nbefore:\n%s", seed, args, stdin, how, ours, theirs,
					strings.Join(before[max(0, len(before)-12):], "\n"))
			}
		}
	}
}

// curls matches the lines in which --debug reports endpoints and requests.
func curls(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "cURL Command: ") || strings.HasPrefix(line, "Cluster-Endpoints: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// userCommand makes a command about users and roles. Role names are valid in v2: Debian's etcd
// panics at an empty one.
func (g *generator) userCommand() (args []string, stdin string) {
	if g.chance(2) {
		args = append(args, "--debug", "--no-sync")
	}
	user := g.pick("ann", "ann", "bob", "none", "root", "a%20b")
	role := g.pick("r1", "r1", "r2", "root", "guest", "none")
	args = append(args, strings.Fields(g.pick("user add", "user add", "user get", "user get", "user list", "user remove", "user grant", "user grant", "user revoke",
		"user passwd", "role add", "role add", "role get", "role get", "role list", "role remove", "role grant", "role grant", "role grant", "role revoke"))...)
	kind, verb := args[len(args)-2], args[len(args)-1]
	switch {
	case verb == "list":
	case kind == "user":
		switch verb {
		case "add":
			user += g.pick(":pw", ":pw", ":", ":a:b", "")
		case "grant", "revoke":
			args = append(args, "--roles", role)
		}
		args, stdin = append(args, user), g.pick("pw\n", "pw", "two words\n", "\n")
	default:
		if verb == "grant" || verb == "revoke" {
			args = append(args, "--path", g.pick("/*", "/a", "/a", "/b/*", "b", ""), g.pick("--read", "--write", "--readwrite", "--rw"))
		}
		args = append(args, role)
	}
	if g.chance(30) {
		args = append(args, "more")
	}
	return args, stdin
}
