package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cairn/test/dnstest"
	"cairn/test/harness"
)

// TestMain makes the test binary run as etcdctl when a script calls etcdctl.
func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){"etcdctl": func() {
		if addr := os.Getenv(dnsServer); addr != "" {
			net.DefaultResolver = dnstest.Resolver(addr)
		}
		os.Exit(run())
	}})
}

// cleaning runs the tests and removes the programs that they built.
type cleaning struct{ m *testing.M }

func (c cleaning) Run() int { return harness.Run(c.m) }

// TestScripts runs testdata/script: the v2 commands against scripted servers (`serve`, see
// fake_test.go), and commands without a server.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serve, "served": served},
		Setup: func(env *testscript.Env) error {
			env.Values[fakesKey{}] = map[string]*fake{}
			patientClient(env)
			return setTab(env)
		},
	})
}

// setTab sets TAB to the script that prints what a TAB completes.
func setTab(env *testscript.Env) error {
	path, err := filepath.Abs(filepath.Join("testdata", "tab.sh"))
	env.Setenv("TAB", path)
	return err
}

// patientClient sets etcdctl's time-outs.
func patientClient(env *testscript.Env) {
	for _, variable := range harness.OurPatience {
		name, value, _ := strings.Cut(variable, "=")
		env.Setenv(name, value)
	}
}
