package main

import (
	"slices"
	"strings"
	"testing"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/program"
	"cairn/test/published"
)

// TestPublishedCommands compares etcdctl, and the column "3.7" of docs/compatibility.md, with the
// commands and flags of etcdctl 3.7.1.
func TestPublishedCommands(t *testing.T) {
	app := program.New()
	ours := append(app.Commands(cli.V3), "completion", "options") // added by cobra
	commands := published.Read(t, "testdata/published/etcdctl-3.7.1.txt")
	for _, p := range commands {
		known := app.Globals()
		if p.Path != published.Global {
			if !slices.Contains(ours, p.Path) {
				t.Errorf("etcdctl 3.7.1 has the command %q, which does not exist", p.Path)
				continue
			}
			known = app.FlagsOf(cli.V3, p.Path)
		}
		for _, name := range p.Flags {
			if known.Lookup(name) == nil && name != "help" {
				t.Errorf("etcdctl 3.7.1 has the flag --%s of %s, which does not exist", name, p.Path)
			}
		}
	}
	published.ComparePage(t, "etcdctl 3.7.1", "v3", commands, func(cell string) (paths []string) {
		group := ""
		for i, m := range quotedText.FindAllStringSubmatch(cell, -1) {
			path := m[1]
			if i == 0 {
				group, _, _ = strings.Cut(path, " ")
			} else if slices.Contains(ours, group+" "+path) {
				path = group + " " + path
			}
			if path != "help" { // cobra's, which the list of etcd's commands leaves out
				paths = append(paths, path)
			}
		}
		return paths
	})
}
