package lint

import (
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestModule checks the module.
func TestModule(t *testing.T) {
	root := os.DirFS("../..")
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	module, _, _ := strings.Cut(strings.TrimPrefix(string(text), "module "), "\n")
	breaches, err := Check(root, module)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

// TestTableListsWhatIsThere: every line of the tables is about an existing directory.
func TestTableListsWhatIsThere(t *testing.T) {
	for _, dirs := range []iter.Seq[string]{maps.Keys(layers), maps.Keys(impure)} {
		for dir := range dirs {
			if _, err := os.Stat("../../" + strings.TrimSuffix(dir, "/...")); err != nil {
				t.Errorf("internal/lint/table.go: %v: delete its line", err)
			}
		}
	}
}

// TestArchitectureListsPackages: docs/architecture.md has a line for each package of internal, and
// for no other.
func TestArchitectureListsPackages(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "\ninternal/\n")
	list, _, _ = strings.Cut(list, "```")
	var listed []string
	for line := range strings.Lines(list) {
		// A line that is indented further is about a package in a package.
		if name, indented := strings.CutPrefix(line, "  "); indented && !strings.HasPrefix(name, " ") {
			listed = append(listed, strings.Fields(name)[0])
		}
	}
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, d := range dirs {
		there = append(there, d.Name())
	}
	slices.Sort(listed)
	if !slices.Equal(listed, there) {
		t.Errorf("docs/architecture.md lists the packages\n%v, internal has\n%v", listed, there)
	}
}

// TestContributingListsPackages: the map of areas in CONTRIBUTING.md has each package of internal
// once, and no other word of its column is unknown.
func TestContributingListsPackages(t *testing.T) {
	page, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "| area | packages | role |")
	list, _, _ = strings.Cut(list, "\n\n")
	listed := map[string]int{}
	for line := range strings.Lines(list) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for i, word := range strings.Split(cells[2], "`") {
			if i%2 == 1 { // between two backquotes
				listed[word]++
			}
		}
	}
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if n := listed[d.Name()]; n != 1 {
			t.Errorf("CONTRIBUTING.md lists internal/%s %d times in its map of areas, want once", d.Name(), n)
		}
		delete(listed, d.Name())
	}
	for word := range listed {
		if _, err := os.Stat("../../" + word); err != nil {
			t.Errorf("CONTRIBUTING.md: map of areas: %v", err)
		}
	}
}

// doc is the start of a well-documented package.
func doc(name string) string { return "// Package " + name + " is an example.\npackage " + name + "\n" }

func TestCheckFindsBreaches(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // part of the only breach; none when empty
	}{
		"clean": {files: map[string]string{
			"internal/kv/kv.go":     doc("kv"),
			"internal/mvcc/mvcc.go": doc("mvcc") + `import _ "cairn/internal/kv"`,
		}},
		"import up": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + `import _ "cairn/internal/machine"`},
			want:  "internal/mvcc/mvcc.go: layer 2 imports internal/machine of layer 4",
		},
		"import sideways": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + `import _ "cairn/internal/auth"`},
			want:  "layer 2 imports internal/auth of layer 2",
		},
		"a test may import up": {files: map[string]string{
			"internal/mvcc/mvcc.go":      doc("mvcc"),
			"internal/mvcc/mvcc_test.go": "package mvcc_test\n" + `import _ "cairn/internal/machine"`,
		}},
		"new package": {
			files: map[string]string{"internal/shiny/shiny.go": doc("shiny")},
			want:  "internal/shiny: has no layer: add it to layers in internal/lint/table.go",
		},
		"below a listed tree": {files: map[string]string{"cmd/tool/internal/tcp/tcp.go": doc("tcp")}},
		"no package comment": {
			files: map[string]string{"internal/kv/kv.go": "package kv"},
			want:  "internal/kv: has no package comment",
		},
		"layer 0 beyond the standard library": {
			files: map[string]string{"internal/kv/kv.go": doc("kv") + `import _ "google.golang.org/grpc"`},
			want:  "layer 0 uses the standard library only",
		},
		"pebble elsewhere": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + `import _ "github.com/cockroachdb/pebble/v2"`},
			want:  "only internal/storage touches pebble",
		},
		"pebble's file system in a test": {files: map[string]string{
			"internal/replica/a.go":      doc("replica"),
			"internal/replica/a_test.go": "package replica\n" + `import _ "github.com/cockroachdb/pebble/v2/vfs"`,
		}},
		"pebble itself in a test": {
			files: map[string]string{
				"internal/replica/a.go":      doc("replica"),
				"internal/replica/a_test.go": "package replica\n" + `import _ "github.com/cockroachdb/pebble/v2"`,
			},
			want: "internal/replica/a_test.go: imports github.com/cockroachdb/pebble/v2",
		},
		"etcd's server, even in a test": {
			files: map[string]string{"test/x/x_test.go": doc("x") + `import _ "go.etcd.io/etcd/server/v3/embed"`},
			want:  "which is the thing being built",
		},
		"a program from tests": {
			files: map[string]string{"cmd/etcd/main.go": doc("main") + `import _ "cairn/test/harness"`},
			want:  "imports test/harness, which is for tests only",
		},
		"packages of one program": {files: map[string]string{
			"cmd/etcdctl/main.go":             doc("main") + `import _ "cairn/cmd/etcdctl/internal/cli"`,
			"cmd/etcdctl/internal/cli/cli.go": doc("cli"),
		}},
		"one program from another": {
			files: map[string]string{"cmd/etcd/main.go": doc("main") + `import _ "cairn/cmd/etcdctl/internal/cli"`},
			want:  "layer 9 imports cmd/etcdctl/internal/cli of layer 9",
		},
		"goroutine in the core": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + "func f() { go f() }"},
			want:  "internal/mvcc/mvcc.go:3:12: starts a goroutine",
		},
		"clock in the core": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + "import \"time\"\nvar t = time.Now()"},
			want:  "reads the wall clock (time.Now)",
		},
		"randomness in the core": {
			files: map[string]string{"internal/mvcc/mvcc.go": doc("mvcc") + "import \"math/rand/v2\"\nvar n = rand.IntN(3)"},
			want:  "global source of randomness (rand.IntN)",
		},
		"randomness passed in": {files: map[string]string{
			"internal/mvcc/mvcc.go": doc("mvcc") + "import \"math/rand/v2\"\nvar r *rand.Rand = rand.New(rand.NewPCG(1, 2))",
		}},
		"durations are no clock": {files: map[string]string{
			"internal/mvcc/mvcc.go": doc("mvcc") + "import \"time\"\nvar d = 3 * time.Second",
		}},
		"goroutine in the shell": {files: map[string]string{"internal/member/m.go": doc("member") + "func f() { go f() }"}},
		"crossing in use": {files: map[string]string{
			"internal/raftlog/r.go": doc("raftlog") + `import _ "cairn/internal/storage"`,
		}},
		"crossing not in use": {
			files: map[string]string{"internal/raftlog/r.go": doc("raftlog")},
			want:  "internal/raftlog no longer imports internal/storage",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for file, text := range c.files {
				tree[file] = &fstest.MapFile{Data: []byte(text)}
			}
			breaches, err := Check(tree, "cairn")
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(breaches) > 0:
				t.Errorf("a good tree is reported: %q", breaches)
			case c.want != "" && (len(breaches) != 1 || !strings.Contains(breaches[0], c.want)):
				t.Errorf("want one breach with %q, got %q", c.want, breaches)
			}
		})
	}
}

func TestCheckReportsWhatIsNoGo(t *testing.T) {
	_, err := Check(fstest.MapFS{"internal/kv/kv.go": &fstest.MapFile{Data: []byte("not Go")}}, "cairn")
	if err == nil {
		t.Error("a file that is not Go was accepted")
	}
}

// TestTable checks the table: exceptions are between packages in it, each with a reason.
func TestTable(t *testing.T) {
	for c, why := range crossings {
		_, from := layerOf(c.from)
		_, to := layerOf(c.to)
		if !from || !to || why == "" {
			t.Errorf("crossing %v: want two listed packages and a reason, have %q", c, why)
		}
	}
	for dir, why := range impure {
		if layer, ok := layerOf(dir); !ok || layer > pureMax || why == "" {
			t.Errorf("impure %s: want a listed package up to layer %d and a reason, have %q", dir, pureMax, why)
		}
	}
	if slices.Contains(forbidden, "go.etcd.io/etcd") {
		t.Error("forbidden would forbid the client and the wire types, too")
	}
}
