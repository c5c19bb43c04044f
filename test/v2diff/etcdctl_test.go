package v2diff

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cairn/test/harness"
)

const (
	debianEtcdctl   = "/usr/bin/etcdctl"
	commandsPerSeed = 60
)

// TestEtcdctl runs random command lines of v2 with our client and server and with Debian's.
func TestEtcdctl(t *testing.T) {
	harness.Needs(t, debianEtcdctl, "etcd-client")
	p := newPair(t)
	for _, seed := range seeds(t, 1, 1) {
		p.align()
		g := newGenerator(seed)
		root := fmt.Sprintf("/c%d", seed)
		var before []string
		for range commandsPerSeed {
			g.index = p.ours.index()
			args, stdin := g.command(root)
			before = append(before, fmt.Sprintf("%q <%q", args, stdin))
			ours := p.ours.s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...), Env: []string{"ETCDCTL_API=2"}, Stdin: stdin})
			theirs := p.theirs.s.Run(t, harness.Command{Args: append([]string{debianEtcdctl}, args...), Env: []string{"ETCDCTL_API=2"}, Stdin: stdin})
			if strings.HasPrefix(theirs.Stderr, "Error:  102:") && slices.Contains(args, "setdir") {
				continue // ours updates the TTL of a directory, as in the tutorial
			}
			if how := commandsDiffer(ours, theirs); how != "" {
				t.Errorf("seed %d: etcdctl %q <%q\nthey differ in the %s\nours   %+v\ntheirs %+v\nbefore:\n%s", seed, args, stdin, how, ours, theirs,
					strings.Join(before[max(0, len(before)-6):], "\n"))
				// otherwise all that follows differs, too
				p.both(request{method: "DELETE", target: "/v2/keys" + root + "?recursive=true"})
				p.align()
			}
		}
	}
}

// commandsDiffer returns the difference between two commands' results, or "". Usage texts may
// differ; output for scripts may not.
func commandsDiffer(ours, theirs harness.Result) string {
	if ours.Exit != theirs.Exit {
		return "exit status"
	}
	if volatile(ours.Stdout) != volatile(theirs.Stdout) && !strings.Contains(theirs.Stdout, "USAGE:") {
		return "output"
	}
	if errorLines(ours.Stderr) != errorLines(theirs.Stderr) {
		return "errors"
	}
	return ""
}

var volatilePatterns = regexp.MustCompile(`"expiration":"[^"]*"|"ttl":\d+|TTL: \d+`)

// volatile replaces times, and sorts nothing: listings are compared sorted, by --sort.
func volatile(text string) string { return volatilePatterns.ReplaceAllString(text, "TIME") }

func errorLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Error:  ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// command makes the arguments of a command, and its standard input. No argument begins with a dash:
// the allowed places of options differ between 3.1, 3.4 and ours.
func (g *generator) command(root string) (args []string, stdin string) {
	if g.chance(3) {
		args = append(args, g.pick("--no-sync", "-o=extended", "-o", "--output=json", "--total-timeout=9s", "--timeout=9s", "--debug"))
		if args[0] == "-o" {
			args = append(args, g.pick("simple", "json", "extended"))
		}
	}
	name := g.pick("set", "set", "mk", "mkdir", "setdir", "update", "updatedir", "get", "get", "ls", "ls", "rm", "rm", "rmdir", "set", "mk")
	args = append(args, name)
	flag := func(n int, texts ...string) {
		if g.chance(n) {
			args = append(args, texts...)
		}
	}
	switch name {
	case "set":
		flag(5, "--ttl", g.pick("100", "0", "-1", "x", "1000"))
		flag(5, "--swap-with-value", g.pick("x", "y", ""))
		flag(6, "--swap-with-index", g.indexText())
	case "mk":
		flag(5, "--ttl", g.pick("100", "0"))
		flag(4, "--in-order")
	case "mkdir", "setdir", "update", "updatedir":
		flag(4, "--ttl="+g.pick("100", "0", "x"))
	case "get":
		flag(4, "--sort")
		flag(4, "--quorum")
	case "ls":
		args = append(args, "--sort")
		flag(2, "--recursive")
		flag(3, "-p")
		flag(4, "-q")
	case "rm":
		flag(2, "--recursive")
		flag(3, "--dir")
		flag(6, "--with-value", g.pick("x", "y"))
		flag(6, "--with-index", g.indexText())
	}
	if !g.chance(25) {
		path := root + g.pick("/a", "/b", "/a/b", "/a/b/c", "/_h", "/c", "/d/e", "/a/", "//a", "/a b", "/ü", "/a%2Fb", "")
		if g.chance(8) {
			path = strings.TrimPrefix(path, "/")
		}
		args = append(args, path)
	}
	if name == "set" || name == "mk" || name == "update" {
		if g.chance(6) {
			stdin = g.pick("piped", "two\nlines\n", "", "x")
		} else {
			args = append(args, g.pick("x", "y", "", "a b", "ü<>&\"", "1\n2"))
		}
	}
	flag(30, "more")
	return args, stdin
}
