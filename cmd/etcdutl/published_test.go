package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestPublishedCommands compares etcdutl, and the column "3.7" of docs/compatibility.md, with the
// commands and flags of etcdutl 3.7.1.
func TestPublishedCommands(t *testing.T) {
	list, err := os.ReadFile("testdata/published/etcdutl-3.7.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	root := completeRoot()
	root.InitDefaultHelpFlag()
	published := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		path, flags, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		published[path] = true
		c := root
		if path != "(global)" {
			var rest []string
			if c, rest, err = root.Find(strings.Fields(path)); err != nil || len(rest) > 0 {
				t.Errorf("etcdutl 3.7.1 has the command %q, which does not exist", path)
				continue
			}
		}
		for _, name := range strings.Fields(flags) {
			if !hasFlag(c, name) {
				t.Errorf("etcdutl 3.7.1 has the flag --%s of %s, which does not exist", name, path)
			}
		}
	}
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "\n### etcdutl\n")
	part, _, _ = strings.Cut(part, "\n## ")
	var listed []string
	for line := range strings.Lines(part) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 5 || strings.TrimSpace(cells[2]) != "yes" {
			continue
		}
		for _, name := range strings.Split(cells[0], "`") {
			if name, ok := strings.CutPrefix(name, "etcdutl "); ok && !strings.HasPrefix(name, "-") {
				listed = append(listed, name)
			}
		}
	}
	for _, name := range listed {
		if !published[name] {
			t.Errorf("docs/compatibility.md: etcdutl 3.7.1 does not have the command %q", name)
		}
	}
	for path := range published {
		if path != "(global)" && !slices.Contains(listed, path) {
			t.Errorf("docs/compatibility.md: the column 3.7 does not have the command %q", path)
		}
	}
}

func hasFlag(c *cobra.Command, name string) bool {
	return c.Flags().Lookup(name) != nil || c.InheritedFlags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil
}
