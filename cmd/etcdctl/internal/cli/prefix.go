package cli

import "strings"

// expandPrefixes replaces the words of a command line that are unambiguous prefixes of v3 commands
// by the commands' names, as etcdctl 3 does: `mem list` is `member list`. Ambiguous prefixes stay
// unchanged, and so are reported as unknown commands. A prefix of one of etcd's own commands is not
// made ambiguous by a command that only cairn has.
func (a *App) expandPrefixes(args []string, api Dialect) []string {
	n, out := a.root, append([]string(nil), args...)
	for i := 0; i < len(out) && n.group(); i++ {
		arg := out[i]
		if arg == "--" {
			break
		}
		if strings.HasPrefix(arg, "-") && arg != "-" {
			if !strings.Contains(arg, "=") && takesValue(flagName(arg), a.allFlags) {
				i++ // its value
			}
			continue
		}
		next := n.child(arg, api)
		if next == nil {
			if next = n.byPrefix(arg, api); next == nil {
				break
			}
			out[i] = next.name()
		}
		n = next
	}
	return out
}

// flagName returns the name of a flag without dashes. Of a short flag with its value attached
// (-wjson) it returns both, which is no flag's name.
func flagName(arg string) string { return strings.TrimLeft(arg, "-") }

// name returns the last word of the node's path.
func (n *node) name() string { return n.path[strings.LastIndex(n.path, " ")+1:] }

// child returns the node below n of a name, if the dialect has it.
func (n *node) child(name string, api Dialect) *node {
	for _, b := range n.below {
		if b.name() == name && b.in(api) {
			return b
		}
	}
	return nil
}

// builtins are the commands at the root that are not nodes.
var builtins = []string{"help", "completion", "options", "h"}

// byPrefix returns the only v3 node below n whose name begins with a prefix, or nil.
func (n *node) byPrefix(prefix string, api Dialect) *node {
	if n.path == "" {
		for _, name := range builtins {
			if strings.HasPrefix(name, prefix) {
				return nil
			}
		}
	}
	var etcds, all []*node
	for _, b := range n.below {
		if !strings.HasPrefix(b.name(), prefix) || !b.in(api) {
			continue
		}
		all = append(all, b)
		if !b.beyond() {
			etcds = append(etcds, b)
		}
	}
	if len(etcds) > 0 {
		all = etcds
	}
	if len(all) != 1 || !all[0].in(V3) {
		return nil
	}
	return all[0]
}

// beyond reports whether a node, or all nodes below a group, are commands that etcd's etcdctl does
// not have.
func (n *node) beyond() bool {
	for _, b := range n.below {
		if !b.beyond() {
			return false
		}
	}
	if len(n.below) > 0 {
		return true
	}
	for _, form := range n.forms {
		if form != nil && !form.Beyond {
			return false
		}
	}
	return true
}
