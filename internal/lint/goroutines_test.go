package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// TestGoroutines: no goroutine of a test reports to it after its end.
func TestGoroutines(t *testing.T) {
	faults, err := CheckGoroutines(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

func TestCheckGoroutinesFindsFaults(t *testing.T) {
	const helpers = `
func must(t *testing.T) { t.Fatal() }
func (f *fixture) put() { must(f.t) }
func (f *fixture) try() error { return nil }
`
	for name, c := range map[string]struct {
		body string
		want string // part of the only fault; none when empty
	}{
		"not waited for":          {"go func() { t.Error() }()", "a_test.go:4: a goroutine that reports to the test is not waited for"},
		"through helpers":         {"go func() { f.put() }()", "is not waited for"},
		"a helper itself":         {"go must(t)", "is not waited for"},
		"in a group":              {"var wg sync.WaitGroup\nwg.Go(func() { f.put() })", "a_test.go:5: a goroutine that reports"},
		"another one is awaited":  {"go func() { t.Error() }()\ngo func() { close(done) }()\n<-done", "is not waited for"},
		"ends before the wait":    {"go func() { t.Error(); close(done) }()\nif bad { t.Fatal() }\n<-done", "if line 5 ends the test"},
		"helper ends it":          {"wg.Go(func() { t.Error() })\nf.put()\nwg.Wait()", "if line 5 ends the test"},
		"in a subtest":            {"t.Run(``, func(t *testing.T) { wg.Go(func() { t.Error() }) })\nwg.Wait()", "is not waited for"},
		"received":                {"go func() { t.Error(); close(done) }()\n<-done", ""},
		"sends its result":        {"go func() { t.Error(); all[0] <- 1 }()\nfor range all[0] { }", ""},
		"waited for":              {"wg.Go(func() { t.Error() })\nwg.Wait()\nt.Fatal()", ""},
		"Done":                    {"go func() { defer wg.Done(); t.Error() }()\nwg.Wait()", ""},
		"deferred":                {"defer wg.Wait()\nwg.Go(func() { t.Error() })\nt.Fatal()", ""},
		"deferred in a function":  {"defer func() { stop(); <-done }()\ngo func() { t.Error(); close(done) }()\nt.Fatal()", ""},
		"in Cleanup":              {"t.Cleanup(wg.Wait)\nwg.Go(func() { t.Error() })\nt.Fatal()", ""},
		"does not report":         {"go func() { _ = f.try() }()", ""},
		"synctest waits":          {"synctest.Test(t, func(t *testing.T) { go func() { t.Error() }() })", ""},
		"another's Error":         {"go func() { log.Error() }()", ""},
		"only reports after wait": {"wg.Go(func() { t.Error() })\nwg.Wait()\nf.put()", ""},
	} {
		tree := fstest.MapFS{
			"a_test.go": {Data: []byte("package a\n\nfunc TestA(t *testing.T) {\n" + c.body + "\n}\n")},
			"b_test.go": {Data: []byte("package a\n" + helpers)},
		}
		faults, err := CheckGoroutines(tree)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.want == "" && len(faults) > 0:
			t.Errorf("%s: %q, want none", name, faults)
		case c.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], c.want)):
			t.Errorf("%s: %q, want one that contains %q", name, faults, c.want)
		}
	}
}
