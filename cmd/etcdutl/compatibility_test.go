package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestCompatibilityPageHasEveryCommand compares the commands and flags of etcdutl with
// docs/compatibility.md, in both directions.
func TestCompatibilityPageHasEveryCommand(t *testing.T) {
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "\n### etcdutl\n")
	part, _, _ = strings.Cut(part, "\n## ")
	command, flag := regexp.MustCompile("`etcdutl ([^`]+)`"), regexp.MustCompile("`--([a-z0-9-]+)`")
	root := completeRoot()
	listed := map[string]bool{} // commands, and "COMMAND --FLAG"
	for _, row := range strings.Split(part, "\n") {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 5 || strings.TrimSpace(cells[3]) != "works" {
			continue
		}
		for _, m := range command.FindAllStringSubmatch(cells[0], -1) {
			name := m[1]
			listed[name] = true
			if strings.HasPrefix(name, "--") {
				if root.PersistentFlags().Lookup(name[2:]) == nil {
					t.Errorf("docs/compatibility.md has etcdutl %s, which does not exist", name)
				}
				continue
			}
			c, rest, err := root.Find(strings.Fields(name))
			if err != nil || len(rest) > 0 {
				t.Errorf("docs/compatibility.md has etcdutl %s, which does not exist", name)
				continue
			}
			for _, f := range flag.FindAllStringSubmatch(cells[4], -1) {
				listed[name+" --"+f[1]] = true
				if c.Flags().Lookup(f[1]) == nil {
					t.Errorf("docs/compatibility.md has etcdutl %s --%s, which does not exist", name, f[1])
				}
			}
		}
	}
	if !listed["import"] || !listed["import --v2"] {
		t.Fatal("the rows of docs/compatibility.md were not found")
	}
	for _, path := range commandPaths(root) {
		if strings.HasPrefix(path, "completion ") {
			path = "completion"
		}
		if !listed[path] {
			t.Errorf("docs/compatibility.md: no row for etcdutl %s", path)
		}
		c, _, err := root.Find(strings.Fields(path))
		if err != nil {
			t.Fatal(err)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && !listed[path+" --"+f.Name] {
				t.Errorf("docs/compatibility.md: the row of etcdutl %s does not have --%s", path, f.Name)
			}
		})
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !listed["--"+f.Name] {
			t.Errorf("docs/compatibility.md: no row for etcdutl --%s", f.Name)
		}
	})
}
