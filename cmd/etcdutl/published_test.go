package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"cairn/test/published"
)

// TestPublishedCommands compares etcdutl, and the column "3.7" of docs/compatibility.md, with the
// commands and flags of etcdutl 3.7.1.
func TestPublishedCommands(t *testing.T) {
	root := completeRoot()
	root.InitDefaultHelpFlag()
	commands := published.Read(t, "testdata/published/etcdutl-3.7.1.txt")
	for _, p := range commands {
		c := root
		if p.Path != published.Global {
			found, rest, err := root.Find(strings.Fields(p.Path))
			if err != nil || len(rest) > 0 {
				t.Errorf("etcdutl 3.7.1 has the command %q, which does not exist", p.Path)
				continue
			}
			c = found
		}
		for _, name := range p.Flags {
			if !hasFlag(c, name) {
				t.Errorf("etcdutl 3.7.1 has the flag --%s of %s, which does not exist", name, p.Path)
			}
		}
	}
	published.ComparePage(t, "etcdutl 3.7.1", "etcdutl", published.Version37, commands, func(cell string) (paths []string) {
		for _, name := range strings.Split(cell, "`") {
			if name, ok := strings.CutPrefix(name, "etcdutl "); ok && !strings.HasPrefix(name, "-") {
				paths = append(paths, name)
			}
		}
		return paths
	})
}

func hasFlag(c *cobra.Command, name string) bool {
	return c.Flags().Lookup(name) != nil || c.InheritedFlags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil
}
