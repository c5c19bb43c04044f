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
	"regexp"
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

// The columns of docs/compatibility.md that report what a version of etcd has.
const (
	Version31 = 1
	Version37 = 2
)

// Row is a row of a section of docs/compatibility.md: the thing, whether etcd 3.1 and 3.7 have it,
// what cairn does, and notes.
type Row [5]string

// Flags returns the flags in a cell, without their dashes.
func Flags(cell string) (names []string) {
	for _, m := range flagName.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// A flag is quoted on its own, behind the program's name, or behind an ellipsis that stands for it.
var flagName = regexp.MustCompile("`(?:\\w+ |… )?--?([a-zA-Z0-9-]+)`")

// Rows returns the rows of a section of docs/compatibility.md for what a version of etcd has.
func Rows(t *testing.T, section string, version int) (rows []Row) {
	t.Helper()
	_, part, ok := strings.Cut(readFile(t, "../../docs/compatibility.md"), "\n### "+section+"\n")
	if !ok {
		t.Fatalf("docs/compatibility.md has no section %q", section)
	}
	part, _, _ = strings.Cut(part, "\n##")
	for line := range strings.Lines(part) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != len(Row{}) {
			continue
		}
		if row := Row(cells); strings.TrimSpace(row[version]) == "yes" {
			rows = append(rows, row)
		}
	}
	return rows
}

// ComparePage fails the test unless a version's column in a section of docs/compatibility.md has
// the commands of a program, and no other, each with its flags. Flags of one letter need not be on
// the page. paths returns the commands in the first cell of a row.
func ComparePage(t *testing.T, program, section string, version int, commands []Command, paths func(cell string) []string) {
	t.Helper()
	flags := map[string][]string{} // of the commands on the page
	for _, row := range Rows(t, section, version) {
		for _, path := range paths(row[0]) {
			if !slices.ContainsFunc(commands, func(c Command) bool { return c.Path == path }) {
				t.Errorf("docs/compatibility.md: %s does not have the command %q", program, path)
			}
			flags[path] = append(flags[path], Flags(row[4])...)
		}
	}
	for _, c := range commands {
		listed, ok := flags[c.Path]
		if !ok && c.Path != Global {
			t.Errorf("docs/compatibility.md: no row for the command %q of %s", c.Path, program)
		}
		for _, name := range c.Flags {
			if ok && len(name) > 1 && !slices.Contains(listed, name) {
				t.Errorf("docs/compatibility.md: the row of the command %q of %s does not have --%s", c.Path, program, name)
			}
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
