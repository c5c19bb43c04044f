package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// CheckGoroutines returns the goroutines of tests that can report to their test after it has ended,
// which ends the whole test binary with a panic: those that call a method of a testing.T, or a
// helper of the package that does, and that the test does not wait for before it returns. A wait is
// a receive from a channel that the goroutine closes or sends to, or a call of Wait on its
// sync.WaitGroup. It must be deferred, or in a function for Cleanup, if the test can end between
// the start of the goroutine and the wait. Goroutines in a bubble of synctest are excluded:
// synctest.Test waits for them.
//
// The check is by names, without types: a testing.T is called t, tb or b.
func CheckGoroutines(fsys fs.FS) (faults []string, err error) {
	packages := map[string][]*ast.File{} // the tests of a directory
	files := token.NewFileSet()
	err = eachFile(fsys, func(name string) error {
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		packages[path.Dir(name)] = append(packages[path.Dir(name)], file)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, tests := range packages {
		g := goroutines{files: files, reports: callers(tests, reporting), ends: callers(tests, ending)}
		for _, file := range tests {
			ast.PreorderStack(file, nil, g.check)
		}
		faults = append(faults, g.faults...)
	}
	slices.Sort(faults)
	return faults, nil
}

// The methods of a testing.T that must not be called after the test has ended, and those of them
// that end the test.
var (
	ending    = []string{"Fatal", "Fatalf", "FailNow", "Skip", "Skipf", "SkipNow"}
	reporting = append([]string{"Error", "Errorf", "Fail", "Log", "Logf"}, ending...)
)

// goroutines checks the goroutines in the tests of one package.
type goroutines struct {
	files *token.FileSet
	// The functions of the package's tests that call a reporting or ending method.
	reports, ends calls
	faults        []string
}

// check is called with each node and those around it.
func (g *goroutines) check(n ast.Node, above []ast.Node) bool {
	if isCall(n, "synctest", "Test") {
		return false
	}
	var started ast.Node // the call or the function literal
	signals := map[string]bool{}
	switch n := n.(type) {
	case *ast.GoStmt:
		started = n.Call
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if ok && f.Sel.Name == "Go" && len(n.Args) == 1 {
			started = n.Args[0]
			signals[nameOf(f.X)] = true
		}
	}
	if started == nil || !g.reports.in(started) {
		return true
	}
	addSignals(started, signals)
	if fault := g.awaited(n, enclosing(above), signals); fault != "" {
		at := g.files.Position(n.Pos())
		g.faults = append(g.faults, fmt.Sprintf("%s:%d: a goroutine that reports to the test %s", at.Filename, at.Line, fault))
	}
	return true
}

// awaited returns what is wrong with the wait, in the function around it, for a goroutine that
// signals its end in one of some ways; "" if nothing is.
func (g *goroutines) awaited(start ast.Node, around *ast.BlockStmt, signals map[string]bool) string {
	deferred, first := false, token.NoPos // of a wait
	for n := range ast.Preorder(around) {
		switch d := n.(type) {
		case *ast.DeferStmt:
			deferred = deferred || waitsFor(d, signals)
		case *ast.CallExpr:
			deferred = deferred || nameOf(d.Fun) == "Cleanup" && waitsFor(d, signals)
		}
		if n.Pos() > start.End() && (first == token.NoPos || n.Pos() < first) && waitsFor(n, signals) {
			first = n.Pos()
		}
	}
	switch {
	case deferred:
		return ""
	case first == token.NoPos:
		return "is not waited for: defer the Wait of a sync.WaitGroup"
	}
	for n := range ast.Preorder(around) {
		if call, ok := n.(*ast.CallExpr); ok && n.Pos() > start.End() && n.End() < first && g.ends.call(call) {
			return "is not waited for if line " + fmt.Sprint(g.files.Position(n.Pos()).Line) + " ends the test: defer the wait"
		}
	}
	return ""
}

// enclosing returns the body of the innermost test or function around a node: that of a subtest, or
// that of the declaration.
func enclosing(above []ast.Node) *ast.BlockStmt {
	for _, n := range slices.Backward(above) {
		switch f := n.(type) {
		case *ast.FuncLit:
			if f.Type.Params.NumFields() == 1 {
				return f.Body
			}
		case *ast.FuncDecl:
			return f.Body
		}
	}
	return &ast.BlockStmt{}
}

// addSignals adds the names of the channels that a goroutine sends to or closes, and of the wait
// groups whose Done it calls.
func addSignals(started ast.Node, signals map[string]bool) {
	for n := range ast.Preorder(started) {
		switch n := n.(type) {
		case *ast.SendStmt:
			signals[nameOf(n.Chan)] = true
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Done" {
				signals[nameOf(f.X)] = true
			} else if nameOf(n.Fun) == "close" && len(n.Args) == 1 {
				signals[nameOf(n.Args[0])] = true
			}
		}
	}
	delete(signals, "")
}

// waitsFor reports whether a node contains a receive from one of the channels, or a Wait on one of
// the wait groups.
func waitsFor(node ast.Node, signals map[string]bool) bool {
	for n := range ast.Preorder(node) {
		switch n := n.(type) {
		case *ast.UnaryExpr:
			if n.Op == token.ARROW && signals[nameOf(n.X)] {
				return true
			}
		case *ast.RangeStmt:
			if signals[nameOf(n.X)] {
				return true
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "Wait" && signals[nameOf(n.X)] {
				return true
			}
		}
	}
	return false
}

// calls are the methods of a testing.T, and the functions of a package's tests that call one of
// them.
type calls struct {
	methods   []string
	functions map[string]bool
}

// callers returns some methods of a testing.T with all functions of a package's tests that call
// one, directly or through each other, beside the tests themselves.
func callers(tests []*ast.File, methods []string) calls {
	c := calls{methods, map[string]bool{}}
	for before := -1; before < len(c.functions); {
		before = len(c.functions)
		for _, file := range tests {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if ok && f.Body != nil && !strings.HasPrefix(f.Name.Name, "Test") && c.in(f.Body) {
					c.functions[f.Name.Name] = true
				}
			}
		}
	}
	return c
}

// in reports whether a node contains one of the calls.
func (c calls) in(node ast.Node) bool {
	for n := range ast.Preorder(node) {
		if call, ok := n.(*ast.CallExpr); ok && c.call(call) {
			return true
		}
	}
	return false
}

func (c calls) call(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if ok && slices.Contains(c.methods, f.Sel.Name) && slices.Contains([]string{"t", "tb", "b"}, nameOf(f.X)) {
		return true
	}
	return c.functions[nameOf(call.Fun)] && usesTest(call)
}

// usesTest reports whether a call can be one of a function that has a testing.T: it is called on a
// value, or with t as an argument.
func usesTest(call *ast.CallExpr) bool {
	_, method := call.Fun.(*ast.SelectorExpr)
	return method || slices.ContainsFunc(call.Args, func(a ast.Expr) bool {
		return slices.Contains([]string{"t", "tb", "b"}, nameOf(a))
	})
}

// nameOf returns the last name of an expression: c of a.b.c, of c[i] and of c(x).
func nameOf(x ast.Expr) string {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e.Name
		case *ast.SelectorExpr:
			return e.Sel.Name
		case *ast.IndexExpr:
			x = e.X
		case *ast.CallExpr:
			x = e.Fun
		default:
			return ""
		}
	}
}
