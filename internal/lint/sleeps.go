package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
)

// CheckSleeps returns the calls of time.Sleep in tests that wait for a fixed time in place of an
// event. Allowed are sleeps in a loop, which is a wait for a condition or the pace of a load,
// sleeps on synctest's clock, and those with a comment that gives the reason on the same line or
// above.
func CheckSleeps(fsys fs.FS) (faults []string, err error) {
	err = eachFile(fsys, func(name string) error {
		if !strings.HasSuffix(name, ".go") || !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "test/") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		found, err := checkSleeps(name, text)
		faults = append(faults, found...)
		return err
	})
	return faults, err
}

func checkSleeps(name string, text []byte) (faults []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	explained := map[int]bool{} // lines with a comment, and those below one
	for _, group := range file.Comments {
		end := files.Position(group.End()).Line
		explained[end], explained[end+1] = true, true
	}
	ast.PreorderStack(file, nil, func(n ast.Node, above []ast.Node) bool {
		if line := files.Position(n.Pos()).Line; isCall(n, "time", "Sleep") && !explained[line] && !waits(above) {
			faults = append(faults, fmt.Sprintf("%s:%d: time.Sleep: wait for the event (harness.Await), or write the reason beside it", name, line))
		}
		return true
	})
	return faults, nil
}

// waits reports whether the nodes around a sleep are a loop or a bubble of synctest.
func waits(above []ast.Node) bool {
	for _, n := range above {
		switch n.(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			return true
		}
		if isCall(n, "synctest", "Test") {
			return true
		}
	}
	return false
}

// isCall reports whether a node is a call of a package's function.
func isCall(n ast.Node, pkg, name string) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != name {
		return false
	}
	id, ok := f.X.(*ast.Ident)
	return ok && id.Name == pkg
}
