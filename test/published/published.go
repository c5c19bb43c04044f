// Package published compares a program of ours, and docs/compatibility.md, with the commands and
// flags of etcd's program of the same name.
//
// It owns the format of the lists in testdata/published: a line "COMMAND: FLAG FLAG …" for each
// command, "(global)" for the flags of all, and comments after "#".
//
// Concurrency: none.
package published

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Global is the path that stands for the flags of all commands.
const Global = "(global)"

// Command is a command of etcd's program.
type Command struct {
	Path  string
	Flags []string
}

// Read reads a list.
func Read(t *testing.T, file string) (commands []Command) {
	t.Helper()
	for line := range strings.Lines(readFile(t, file)) {
		path, flags, ok := strings.Cut(line, ":")
		if ok && !strings.HasPrefix(line, "#") {
			commands = append(commands, Command{path, strings.Fields(flags)})
		}
	}
	return commands
}

// ComparePage fails the test unless the column "3.7" of a section of docs/compatibility.md has the
// commands of a program, and no other. paths returns the commands in the first cell of a row.
func ComparePage(t *testing.T, program, section string, commands []Command, paths func(cell string) []string) {
	t.Helper()
	_, part, _ := strings.Cut(readFile(t, "../../docs/compatibility.md"), "\n### "+section+"\n")
	part, _, _ = strings.Cut(part, "\n##")
	var listed []string
	for line := range strings.Lines(part) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) == 5 && strings.TrimSpace(cells[2]) == "yes" {
			listed = append(listed, paths(cells[0])...)
		}
	}
	exists := func(path string) bool {
		return slices.ContainsFunc(commands, func(c Command) bool { return c.Path == path })
	}
	for _, path := range listed {
		if !exists(path) {
			t.Errorf("docs/compatibility.md: %s does not have the command %q", program, path)
		}
	}
	for _, c := range commands {
		if c.Path != Global && !slices.Contains(listed, c.Path) {
			t.Errorf("docs/compatibility.md: the column 3.7 does not have the command %q of %s", c.Path, program)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
