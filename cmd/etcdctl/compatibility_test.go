package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/program"
)

var (
	quotedText = regexp.MustCompile("`([^`]+)`")
	flagName   = regexp.MustCompile(`^--?([a-z0-9-]+)`)
)

// pageRows returns the rows of the tables below a heading of docs/compatibility.md, as the texts in
// backquotes of the first and of the last cell. Rows of what is never to come are left out.
func pageRows(t *testing.T, heading string) (rows [][2][]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(page), "\n### "+heading+"\n")
	if !ok {
		t.Fatalf("docs/compatibility.md has no part %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n### ")
	for _, row := range strings.Split(part, "\n") {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if !strings.HasPrefix(row, "| `") || len(cells) != 5 || strings.TrimSpace(cells[3]) != "works" {
			continue
		}
		var r [2][]string
		for i, cell := range []string{cells[0], cells[4]} {
			for _, m := range quotedText.FindAllStringSubmatch(cell, -1) {
				r[i] = append(r[i], m[1])
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// TestCompatibilityPageHasEveryCommand compares the commands and flags of both dialects, as
// `--help` lists them, with docs/compatibility.md, in both directions.
func TestCompatibilityPageHasEveryCommand(t *testing.T) {
	app := program.New()
	for _, d := range []cli.Dialect{cli.V2, cli.V3} {
		commands := app.Commands(d)
		rows := pageRows(t, fmt.Sprintf("v%d", d))
		if d == cli.V3 {
			rows = append(rows, pageRows(t, "Without a server")...)
		}
		listed := map[string]map[string]bool{} // flags, by command
		for _, row := range rows {
			compareRow(t, app, d, commands, row, listed)
		}
		for _, path := range commands {
			other := cli.V2 + cli.V3 - d
			if listed[path] == nil {
				if !slices.Contains(app.Commands(other), path) || d == cli.V3 { // commands of both are listed once
					t.Errorf("docs/compatibility.md: no row for the command %q of v%d", path, d)
				}
				continue
			}
			app.FlagsOf(d, path).VisitAll(func(f *pflag.Flag) {
				if !f.Hidden && !listed[path][f.Name] {
					t.Errorf("docs/compatibility.md: the row of %q of v%d does not have --%s", path, d, f.Name)
				}
			})
		}
	}
	global := map[string]bool{}
	for _, row := range pageRows(t, "Global options") {
		for _, name := range append(row[0], row[1]...) {
			name = strings.TrimPrefix(strings.TrimPrefix(name, "etcdctl "), "… ")
			if m := flagName.FindStringSubmatch(name); m != nil {
				global[m[1]] = true
			}
		}
		for _, name := range row[0] {
			m := flagName.FindStringSubmatch(strings.TrimPrefix(strings.TrimPrefix(name, "etcdctl "), "… "))
			if m != nil && len(m[1]) > 1 && m[1] != "help" && app.Globals().Lookup(m[1]) == nil {
				t.Errorf("docs/compatibility.md has the option --%s, which etcdctl does not have", m[1])
			}
		}
	}
	app.Globals().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && !global[f.Name] {
			t.Errorf("docs/compatibility.md: no row for the global option --%s", f.Name)
		}
	})
}

// compareRow checks that the commands of a row exist, and the flags in its notes with any of them.
func compareRow(t *testing.T, app *cli.App, d cli.Dialect, commands []string, row [2][]string, listed map[string]map[string]bool) {
	t.Helper()
	if strings.HasPrefix(row[0][0], "-") {
		return // an option of several commands
	}
	flags, group := map[string]bool{}, ""
	for _, text := range row[1] {
		if m := flagName.FindStringSubmatch(text); m != nil {
			flags[m[1]] = true
		}
	}
	exists := map[string]bool{}
	for i, path := range row[0] {
		if i == 0 {
			group, _, _ = strings.Cut(path, " ")
		} else if slices.Contains(commands, group+" "+path) {
			path = group + " " + path
		}
		if listed[path] == nil {
			listed[path] = map[string]bool{}
		}
		maps.Copy(listed[path], flags)
		word := slices.Contains(commands, group) // status and finish are arguments of migrate
		if !slices.Contains(commands, path) && !word && !slices.Contains([]string{"help", "completion", "options"}, path) {
			t.Errorf("docs/compatibility.md has the command %q of v%d, which etcdctl does not have", path, d)
		}
		app.FlagsOf(d, path).VisitAll(func(f *pflag.Flag) { exists[f.Name], exists[f.Shorthand] = true, true })
	}
	for name := range flags {
		if global := app.Globals(); !exists[name] && global.Lookup(name) == nil && (len(name) > 1 || global.ShorthandLookup(name) == nil) {
			t.Errorf("docs/compatibility.md: no command of %v of v%d has --%s", row[0], d, name)
		}
	}
}
