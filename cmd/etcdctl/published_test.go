package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/program"
)

// TestPublishedCommands compares etcdctl, and the column "3.7" of docs/compatibility.md, with the
// commands and flags of etcdctl 3.7.1.
func TestPublishedCommands(t *testing.T) {
	list, err := os.ReadFile("testdata/published/etcdctl-3.7.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	app := program.New()
	commands := append(app.Commands(cli.V3), "completion", "options") // added by cobra
	published := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		path, flags, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		published[path] = true
		known := app.Globals()
		if path != "(global)" {
			if !slices.Contains(commands, path) {
				t.Errorf("etcdctl 3.7.1 has the command %q, which does not exist", path)
				continue
			}
			known = app.FlagsOf(cli.V3, path)
		}
		for _, name := range strings.Fields(flags) {
			if known.Lookup(name) == nil && name != "help" {
				t.Errorf("etcdctl 3.7.1 has the flag --%s of %s, which does not exist", name, path)
			}
		}
	}
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "\n### v3\n")
	part, _, _ = strings.Cut(part, "\n### ")
	var listed []string
	for line := range strings.Lines(part) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 5 || strings.TrimSpace(cells[2]) != "yes" {
			continue
		}
		group := ""
		for i, m := range quotedText.FindAllStringSubmatch(cells[0], -1) {
			path := m[1]
			if i == 0 {
				group, _, _ = strings.Cut(path, " ")
			} else if slices.Contains(commands, group+" "+path) {
				path = group + " " + path
			}
			listed = append(listed, path)
		}
	}
	for _, path := range listed {
		if !published[path] && path != "help" {
			t.Errorf("docs/compatibility.md: etcdctl 3.7.1 does not have the command %q", path)
		}
	}
	for path := range published {
		if path != "(global)" && !slices.Contains(listed, path) {
			t.Errorf("docs/compatibility.md: the column 3.7 does not have the command %q", path)
		}
	}
}
