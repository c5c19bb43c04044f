package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/program"
	"cairn/test/published"
)

// neverCommands are the commands of a list that will not come. docs/compatibility.md has the
// reason.
var neverCommands = map[string][]string{"etcdctl-3.1.5-v3": {"migrate"}}

// TestPublishedCommands compares etcdctl, and docs/compatibility.md, with the commands and flags of
// etcdctl 3.1.5 in both dialects and of etcdctl 3.7.1.
func TestPublishedCommands(t *testing.T) {
	globals := map[int]map[string]bool{published.Version31: {}, published.Version37: {}}
	for _, c := range []struct {
		name    string
		dialect cli.Dialect
		version int
	}{
		{"etcdctl-3.1.5-v2", cli.V2, published.Version31},
		{"etcdctl-3.1.5-v3", cli.V3, published.Version31},
		{"etcdctl-3.7.1", cli.V3, published.Version37},
	} {
		commands := published.Read(t, "testdata/published/"+c.name+".txt")
		comparePublished(t, c.name, c.dialect, commands)
		section := map[cli.Dialect]string{cli.V2: "v2", cli.V3: "v3"}[c.dialect]
		published.ComparePage(t, c.name, section, c.version, commands, func(cell string) []string {
			return pathsOf(cell, commands)
		})
		for _, p := range commands {
			if p.Path == published.Global {
				for _, name := range p.Flags {
					globals[c.version][name] = true
				}
			}
		}
	}
	comparePageGlobals(t, "etcdctl 3.1.5", published.Version31, globals[published.Version31])
	comparePageGlobals(t, "etcdctl 3.7.1", published.Version37, globals[published.Version37])
}

// comparePublished checks that etcdctl has the commands of a list with their flags.
func comparePublished(t *testing.T, list string, d cli.Dialect, commands []published.Command) {
	t.Helper()
	app := program.New()
	ours := append(app.Commands(d), "completion", "options", "help") // added by cobra
	for _, p := range commands {
		known := app.Globals()
		switch {
		case p.Path == published.Global:
		case slices.Contains(neverCommands[list], p.Path):
			continue
		case !slices.Contains(ours, p.Path):
			t.Errorf("%s has the command %q, which does not exist", list, p.Path)
			continue
		case p.Path != "help":
			known = app.FlagsOf(d, p.Path)
		}
		for _, name := range p.Flags {
			if !knows(known, d, name) {
				t.Errorf("%s has the flag %s of %s, which does not exist", list, name, p.Path)
			}
		}
	}
}

// knows reports whether a flag exists by its name or its short form.
func knows(flags *pflag.FlagSet, d cli.Dialect, name string) bool {
	if name == "help" || flags.Lookup(name) != nil {
		return true
	}
	// the short forms of --discovery-srv differ between the dialects, so that pflag has none of
	// them
	if name == map[cli.Dialect]string{cli.V2: "D", cli.V3: "d"}[d] {
		return flags.Lookup("discovery-srv") != nil
	}
	return len(name) == 1 && flags.ShorthandLookup(name) != nil
}

// pathsOf returns the commands in the first cell of a row, where the name of a group is written
// once: `member list`, `add`.
func pathsOf(cell string, commands []published.Command) (paths []string) {
	group := ""
	for i, m := range quotedText.FindAllStringSubmatch(cell, -1) {
		path := m[1]
		if i == 0 {
			group, _, _ = strings.Cut(path, " ")
		} else if slices.ContainsFunc(commands, func(c published.Command) bool { return c.Path == group+" "+path }) {
			path = group + " " + path
		}
		paths = append(paths, path)
	}
	return paths
}

// comparePageGlobals checks that the page has the global flags of a version of etcd in its column,
// and no others.
func comparePageGlobals(t *testing.T, name string, version int, want map[string]bool) {
	t.Helper()
	listed := map[string]bool{}
	for _, row := range published.Rows(t, "Global options", version) {
		for _, flag := range published.Flags(row[0]) {
			listed[flag] = true
			if !want[flag] {
				t.Errorf("docs/compatibility.md: %s does not have the global flag %s", name, flag)
			}
		}
		for _, flag := range published.Flags(row[4]) {
			listed[flag] = true
		}
	}
	for flag := range want {
		if !listed[flag] {
			t.Errorf("docs/compatibility.md: no row for the global flag %s of %s", flag, name)
		}
	}
}
