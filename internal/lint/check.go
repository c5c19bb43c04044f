package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// goPackage has the facts about one directory with Go files that the rules need.
type goPackage struct {
	dir       string // slash-separated, relative to the module's root
	documents bool   // some file has a package comment
	files     []goFile
}

type goFile struct {
	name    string
	test    bool
	imports []string
	impure  []string // descriptions of goroutines, clocks and randomness, with positions
}

// Check reports every breach of the rules in the module whose root is fsys and whose import path is
// module, sorted, one sentence each. It returns an error when a file cannot be read or is not Go.
func Check(fsys fs.FS, module string) ([]string, error) {
	packages, err := load(fsys)
	if err != nil {
		return nil, err
	}
	var breaches []string
	crossed := map[crossing]bool{}
	for _, p := range packages {
		layer, listed := layerOf(p.dir)
		if !listed {
			breaches = append(breaches, p.dir+": has no layer: add it to layers in internal/lint/table.go, where docs/architecture.md has it")
		}
		if !p.documents {
			breaches = append(breaches, p.dir+": has no package comment: say what it owns, what it does not, its invariants and its concurrency")
		}
		for _, f := range p.files {
			breaches = append(breaches, checkImports(p, f, module, layer, listed, crossed)...)
			if listed && layer != outside && layer <= pureMax && !f.test && impure[p.dir] == "" {
				for _, what := range f.impure {
					breaches = append(breaches, fmt.Sprintf("%s/%s: layers up to %d are stepped by their caller", p.dir, what, pureMax))
				}
			}
		}
	}
	breaches = append(breaches, staleCrossings(packages, crossed)...)
	slices.Sort(breaches)
	return slices.Compact(breaches), nil
}

// checkImports applies the rules about imports to one file.
func checkImports(p *goPackage, f goFile, module string, layer int, listed bool, crossed map[crossing]bool) (breaches []string) {
	at := p.dir + "/" + f.name
	for _, imported := range f.imports {
		for _, prefix := range forbidden {
			if within(imported, prefix) {
				breaches = append(breaches, fmt.Sprintf("%s: imports %s, which is the thing being built", at, imported))
			}
		}
		vfsInTest := within(imported, pebbleVFS) && (f.test || layer == outside)
		if within(imported, pebble) && p.dir != "internal/storage" && !vfsInTest {
			breaches = append(breaches, fmt.Sprintf("%s: imports %s, but only internal/storage touches pebble", at, imported))
		}
		if !listed || layer == outside || f.test {
			continue // a test may import higher layers: it is in no program
		}
		if layer <= stdOnly && !standard(imported, module) {
			breaches = append(breaches, fmt.Sprintf("%s: imports %s, but layer %d uses the standard library only", at, imported, layer))
		}
		target, ours := strings.CutPrefix(imported, module+"/")
		if !ours {
			continue
		}
		below, known := layerOf(target)
		switch c := (crossing{p.dir, target}); {
		case !known: // its own directory is reported
		case sameProgram(p.dir, target): // packages inside one program are layered by Go's rule against cycles
		case crossings[c] != "":
			crossed[c] = true
		case below == outside:
			breaches = append(breaches, fmt.Sprintf("%s: imports %s, which is for tests only", at, target))
		case below >= layer:
			breaches = append(breaches, fmt.Sprintf("%s: layer %d imports %s of layer %d: imports go to a strictly lower layer", at, layer, target, below))
		}
	}
	return breaches
}

// sameProgram reports whether two directories belong to the same cmd/NAME.
func sameProgram(a, b string) bool {
	program := func(dir string) string {
		parts := strings.SplitN(dir, "/", 3)
		if len(parts) < 2 || parts[0] != "cmd" {
			return ""
		}
		return parts[1]
	}
	return program(a) != "" && program(a) == program(b)
}

// staleCrossings reports the exceptions that no package needs.
func staleCrossings(packages []*goPackage, crossed map[crossing]bool) (breaches []string) {
	for _, p := range packages {
		for c := range crossings {
			if c.from == p.dir && !crossed[c] {
				breaches = append(breaches, fmt.Sprintf("internal/lint/table.go: %s no longer imports %s: delete the crossing", c.from, c.to))
			}
		}
	}
	return breaches
}

// layerOf finds a directory in the table: by its own line, or by the nearest /... above it.
func layerOf(dir string) (layer int, listed bool) {
	if layer, listed = layers[dir]; listed {
		return layer, true
	}
	for above := dir; above != "."; above = path.Dir(above) {
		if layer, listed = layers[above+"/..."]; listed {
			return layer, true
		}
	}
	return 0, false
}

func within(imported, prefix string) bool {
	return imported == prefix || strings.HasPrefix(imported, prefix+"/")
}

// standard reports whether an import path is the standard library's: its first element has no dot,
// and it is not this module's.
func standard(imported, module string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && !within(imported, module)
}

// load parses every Go file below the root, whatever its build constraints.
func load(fsys fs.FS) ([]*goPackage, error) {
	found := map[string]*goPackage{}
	err := eachFile(fsys, func(name string) error {
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		dir := path.Dir(name)
		if found[dir] == nil {
			found[dir] = &goPackage{dir: dir}
		}
		return found[dir].add(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read the module's Go files: %w", err)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *goPackage) int { return strings.Compare(a.dir, b.dir) }), nil
}

func (p *goPackage) add(fsys fs.FS, name string) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path.Base(name), text, parser.ParseComments)
	if err != nil {
		return err
	}
	f := goFile{name: path.Base(name), test: strings.HasSuffix(name, "_test.go")}
	local := map[string]string{} // the name a file uses for an import
	for _, spec := range parsed.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		f.imports = append(f.imports, imported)
		as := path.Base(imported)
		if as == "v2" {
			as = "rand" // math/rand/v2 is the only one that the clock rule checks
		}
		if spec.Name != nil {
			as = spec.Name.Name
		}
		local[as] = imported
	}
	f.impure = impurities(files, parsed, local)
	p.documents = p.documents || parsed.Doc != nil && strings.TrimSpace(parsed.Doc.Text()) != ""
	p.files = append(p.files, f)
	return nil
}

// clocks are the functions of package time that read the clock or wait for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// impurities finds goroutines, clocks and randomness in a package that its caller steps.
func impurities(files *token.FileSet, parsed *ast.File, local map[string]string) (found []string) {
	say := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s", files.Position(n.Pos()), what))
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "starts a goroutine")
		case *ast.SelectorExpr:
			from, ok := n.X.(*ast.Ident)
			if !ok || from.Obj != nil { // a local variable with the package's name
				break
			}
			switch imported := local[from.Name]; {
			case imported == "time" && slices.Contains(clocks, n.Sel.Name):
				say(n, "reads the wall clock (time."+n.Sel.Name+")")
			case within(imported, "math/rand") && globalRand(n.Sel.Name):
				say(n, "draws from the global source of randomness (rand."+n.Sel.Name+")")
			case imported == "crypto/rand":
				say(n, "draws from the global source of randomness (crypto/rand."+n.Sel.Name+")")
			}
		}
		return true
	})
	return found
}

// globalRand reports whether a name of math/rand is a function over its global source, and not a
// type or constructor.
func globalRand(name string) bool {
	return !slices.Contains([]string{"Rand", "Source", "Source64", "Zipf", "PCG", "ChaCha8"}, name) && !strings.HasPrefix(name, "New")
}
