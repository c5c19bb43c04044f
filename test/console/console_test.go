// Package console drives the web console of a real server in a real browser, Debian's Chromium.
//
// It owns the scripts beside it, which use playwright-core, and package-lock.json, which pins
// playwright-core and axe-core; `scripts/clients npm chromium` installs them. The scripts print the
// report of node's test runner, and figures as lines that begin with "figure:". They keep a
// screenshot of each screen in the test's artifact directory (go test -artifacts), or in the
// directory that CAIRN_SCREENSHOTS names.
//
// Concurrency: none.
package console

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

// timeLimit returns how long the scripts of a group may take: until shortly before go test's own
// time-out, so that their output is kept. They need less than a minute on an idle machine.
func timeLimit(t *testing.T) time.Duration {
	if deadline, ok := t.Deadline(); ok {
		return time.Until(deadline) - 30*time.Second
	}
	return time.Hour
}

func TestMain(m *testing.M) { harness.Main(m) }

// TestConsole runs the scripts in a few groups, each in one browser against servers of its own.
func TestConsole(t *testing.T) {
	harness.Needs(t, "/usr/bin/chromium", "chromium")
	harness.NeedsOf(t, "node_modules/playwright-core/package.json", "scripts/clients npm")
	harness.NeedsOf(t, "node_modules/axe-core/package.json", "scripts/clients npm")
	if harness.Reference(t) != "" {
		t.Skip("the reference server has no console")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		harness.NeedsOf(t, "node", "install node 20 or later")
	}
	readScripts(t)
	for _, group := range []struct {
		name    string
		scripts []string
		prepare func(t *testing.T, to *sites, s *harness.Server)
	}{
		{"store", []string{"screens", "keys"}, nil},
		// access.mjs is the last of its group, since it enables authentication.
		{"cluster", []string{"members", "readonly", "secure", "history", "live", "cluster", "access"}, func(t *testing.T, to *sites, _ *harness.Server) {
			to.ReadOnly, to.Secure, to.Fleet = harness.Start(t, "--console-read-only").URL(), startSecure(t), startFleet(t)
		}},
		{"many", manyScripts(), func(t *testing.T, to *sites, s *harness.Server) {
			to.Keys = manyKeys(t)
			fill(t, s, to.Keys)
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, "--max-txn-ops", strconv.Itoa(opsMax))
			to := sites{URL: s.URL(), PID: s.PID()}
			if group.prepare != nil {
				group.prepare(t, &to, s)
			}
			runScripts(t, node, s, to, group.scripts)
		})
	}
}

// runScripts runs scripts, and logs their figures.
func runScripts(t *testing.T, node string, s *harness.Server, to sites, scripts []string) {
	t.Helper()
	screenshots := os.Getenv("CAIRN_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.ArtifactDir()
	}
	path, err := filepath.Abs("main.mjs")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Run(t, harness.Command{Args: append([]string{node, path, string(text), screenshots}, scripts...), Limit: timeLimit(t)})
	if passed := regexp.MustCompile(`(?m)^# pass [1-9]`); got.Exit != 0 || !passed.MatchString(got.Stdout) {
		t.Fatalf("exit %d\n%s%s", got.Exit, got.Stdout, got.Stderr)
	}
	for _, line := range strings.Split(got.Stdout, "\n") {
		if _, figure, ok := strings.Cut(line, "figure: "); ok {
			t.Log(figure)
		}
	}
}

// readScripts opens the scripts, so that go test runs again when one of them has changed.
func readScripts(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob("*.mjs")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d scripts, %v", len(names), err)
	}
	for _, name := range names {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
}
