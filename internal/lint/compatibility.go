package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// line is one row of a table of docs/compatibility.md.
type line struct {
	number int
	names  []string // the texts in backquotes in its first cell
	state  string
	notes  string
}

// states are the allowed states in a row.
var states = []string{"works", "planned", "never"}

var quoted = regexp.MustCompile("`([^`]+)`")

// readLines returns the rows of the tables on the page, and reports malformed rows.
func readLines(page string) (lines []line, faults []string) {
	for i, text := range strings.Split(page, "\n") {
		if !strings.HasPrefix(text, "|") || strings.HasPrefix(text, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(text, `\|`, "¦"), "|"), "|")
		for c := range cells {
			cells[c] = strings.TrimSpace(cells[c])
		}
		if len(cells) != 5 {
			faults = append(faults, fmt.Sprintf("line %d: %d cells, want 5: name, 3.1, 3.7, state, notes", i+1, len(cells)))
			continue
		}
		if cells[3] == "cairn" {
			continue // the head of a table
		}
		l := line{number: i + 1, state: cells[3], notes: cells[4]}
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			l.names = append(l.names, m[1])
		}
		switch {
		case len(l.names) == 0:
			faults = append(faults, fmt.Sprintf("line %d: %q has nothing in backquotes", l.number, cells[0]))
		case !slices.Contains(states, l.state):
			faults = append(faults, fmt.Sprintf("line %d: %s is %q, want one of %v", l.number, cells[0], l.state, states))
		case l.state == "never" && l.notes == "":
			faults = append(faults, fmt.Sprintf("line %d: %s is never to come, but does not say why", l.number, cells[0]))
		}
		lines = append(lines, l)
	}
	return lines, faults
}

// published lists the RPCs of etcd's API as Service/Method, and the HTTP paths of its JSON
// gateway as "POST path".
func published() (names []string) {
	for _, file := range services() {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				names = append(names, string(service.Name())+"/"+string(m.Name()))
				names = append(names, gatewayPaths(m)...)
			}
		}
	}
	return names
}

func gatewayPaths(m protoreflect.MethodDescriptor) (paths []string) {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return nil
	}
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		if path := r.GetPost(); path != "" {
			paths = append(paths, "POST "+path)
		}
	}
	return paths
}

// checkPage reports the methods of the published API, and the flags of the server, that have no row
// on the page or a wrong one. help is the output of etcd --help.
func checkPage(page, help string) []string {
	page, _ = splitPage(page)
	lines, faults := readLines(page)
	byName := map[string]line{}
	for _, l := range lines {
		for _, name := range l.names {
			if other, twice := byName[name]; twice && strings.ContainsAny(name, "/-") {
				faults = append(faults, fmt.Sprintf("line %d: %s was on line %d already", l.number, name, other.number))
			}
			byName[name] = l
		}
	}
	for _, name := range published() {
		if _, there := byName[name]; !there {
			faults = append(faults, name+" of the published API has no line")
		}
	}
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +(--[a-z0-9-]+)`).FindAllStringSubmatch(help, -1) {
		flags[m[1]] = true
		if l, there := byName[m[1]]; !there || l.state != "works" {
			faults = append(faults, m[1]+" is in etcd --help, but has no line that says it works")
		}
	}
	for name, l := range byName {
		if strings.HasPrefix(name, "--") && l.state == "works" && !flags[name] {
			faults = append(faults, fmt.Sprintf("line %d: %s works, but is not in etcd --help", l.number, name))
		}
	}
	slices.Sort(faults)
	return faults
}
