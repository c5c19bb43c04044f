package lint

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
)

// fieldsHead is the heading of the part of docs/compatibility.md whose tables list fields, with
// three cells: names, state, and the tests or the reason why there are none.
const fieldsHead = "## Fields of v3\n"

// splitPage returns the page without the part about fields, whose lines are left empty so that the
// others keep their numbers, and that part in the same way.
func splitPage(page string) (rest, fields string) {
	before, from, found := strings.Cut(page, fieldsHead)
	if !found {
		return page, ""
	}
	part, after := from, ""
	if i := strings.Index(from, "\n## "); i >= 0 {
		part, after = from[:i+1], from[i+1:]
	}
	empty := func(text string) string { return strings.Repeat("\n", strings.Count(text, "\n")) }
	return before + "\n" + empty(part) + after, empty(before) + "\n" + part
}

// services are the files that publish services.
func services() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{etcdserverpb.File_rpc_proto, v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto}
}

// publishedFields lists every field of every message in the API, as Message.field.
func publishedFields() (names []string) {
	var list func(messages protoreflect.MessageDescriptors)
	list = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			m := messages.Get(i)
			for j := range m.Fields().Len() {
				names = append(names, string(m.Name())+"."+string(m.Fields().Get(j).Name()))
			}
			list(m.Messages())
		}
	}
	for _, file := range append(services(), mvccpb.File_kv_proto, authpb.File_auth_proto) {
		list(file.Messages())
	}
	return names
}

var testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)

// testsIn lists the tests of a module as package.TestName, where the package is the last part of
// its directory.
func testsIn(fsys fs.FS) (map[string]bool, error) {
	tests := map[string]bool{}
	err := eachFile(fsys, func(name string) error {
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			tests[path.Base(path.Dir(name))+"."+m[1]] = true
		}
		return err
	})
	return tests, err
}

// checkFields reports fields of the published API that the page does not list, rows of fields that
// do not exist, and rows that do not name existing tests.
func checkFields(page string, tests map[string]bool) (faults []string) {
	_, part := splitPage(page)
	published := publishedFields()
	listed := map[string]int{}
	for i, text := range strings.Split(part, "\n") {
		if !strings.HasPrefix(text, "|") || strings.HasPrefix(text, "|---") || strings.HasPrefix(text, "| field |") {
			continue
		}
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("line %d: ", i+1)+fmt.Sprintf(format, args...))
		}
		cells := strings.Split(strings.Trim(text, "|"), "|")
		if len(cells) != 3 {
			fault("%d cells, want 3: fields, state, tests", len(cells))
			continue
		}
		state, shown := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			switch at, twice := listed[m[1]]; {
			case twice:
				fault("%s was on line %d already", m[1], at)
			case !slices.Contains(published, m[1]):
				fault("the published API has no field %s", m[1])
			}
			listed[m[1]] = i + 1
		}
		named := quoted.FindAllStringSubmatch(shown, -1)
		switch {
		case !slices.Contains(states, state):
			fault("%q is none of %v", state, states)
		case state == "works" && len(named) == 0:
			fault("%s works, but no test is named", strings.TrimSpace(cells[0]))
		case state != "works" && shown == "":
			fault("%s: %s, but does not say why", strings.TrimSpace(cells[0]), state)
		}
		for _, m := range named {
			if state == "works" && !tests[m[1]] {
				fault("there is no test %s", m[1])
			}
		}
	}
	for _, name := range published {
		if _, there := listed[name]; !there {
			faults = append(faults, name+" of the published API has no row among the fields")
		}
	}
	return faults
}
