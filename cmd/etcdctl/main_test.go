package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets this binary be etcdctl, too: it is found under that name in PATH by the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"etcdctl": func() { os.Exit(run()) }})
}

// TestScripts plays testdata/script: the v2 commands against scripted servers (`serve`, see
// fake_test.go), and what etcdctl does without one.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serve, "served": served},
		Setup: func(env *testscript.Env) error {
			env.Values[fakesKey{}] = map[string]*fake{}
			return nil
		},
	})
}
