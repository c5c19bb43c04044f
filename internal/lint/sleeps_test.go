package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// TestSleeps: no test of the module waits for a fixed time without a reason.
func TestSleeps(t *testing.T) {
	faults, err := CheckSleeps(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

func TestCheckSleepsFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		file, body string
		found      bool
	}{
		"alone":                         {"a_test.go", "time.Sleep(1)", true},
		"in a helper of tests":          {"test/a/a.go", "time.Sleep(1)", true},
		"in a function literal":         {"a_test.go", "go func() { time.Sleep(1) }()", true},
		"below a comment further up":    {"a_test.go", "// reason\n\nx()\ntime.Sleep(1)", true},
		"in a loop":                     {"a_test.go", "for !ok() { time.Sleep(1) }", false},
		"in the post statement":         {"a_test.go", "for ; !ok(); time.Sleep(1) { }", false},
		"on synctest's clock":           {"a_test.go", "synctest.Test(t, func(t *testing.T) { time.Sleep(1) })", false},
		"with a reason":                 {"a_test.go", "time.Sleep(1) // reason", false},
		"with a reason above":           {"a_test.go", "// reason\ntime.Sleep(1)", false},
		"another package's Sleep":       {"a_test.go", "clock.Sleep(1)", false},
		"a program's, which no test is": {"a.go", "time.Sleep(1)", false},
	} {
		tree := fstest.MapFS{c.file: {Data: []byte("package a\n\nfunc f() {\n" + c.body + "\n}\n")}}
		faults, err := CheckSleeps(tree)
		if err != nil {
			t.Fatal(err)
		}
		if found := len(faults) == 1 && strings.Contains(faults[0], "time.Sleep"); found != c.found || len(faults) > 1 {
			t.Errorf("%s: %q", name, faults)
		}
	}
}
