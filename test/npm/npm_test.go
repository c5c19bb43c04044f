// Package npm drives a real server with the clients of the npm registry: etcd3 for the v3 API,
// node-etcd for v2.
//
// It owns the scripts beside it, which make the checks by the clients' own API, and
// package-lock.json, which pins the clients; `scripts/clients npm` installs them. A script prints
// the report of node's test runner.
//
// Concurrency: none.
package npm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// play runs a script against a server, with further arguments, and expects that it ran a test at
// least, and that all passed.
func play(t *testing.T, s *harness.Server, script, module string, args ...string) {
	t.Helper()
	harness.NeedsOf(t, filepath.Join("node_modules", module, "package.json"), "scripts/clients npm")
	node, err := exec.LookPath("node")
	if err != nil {
		harness.NeedsOf(t, "node", "install node 20 or later")
	}
	path, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil { // makes go test rerun when the script changes
		t.Fatal(err)
	}
	// etcd3 leaves a timer, as long as the lease's TTL, when a response arrives after a lease was
	// released: do not wait for it.
	got := s.Run(t, harness.Command{Args: append([]string{node, "--test-force-exit", path, s.Address()}, args...)})
	if passed := regexp.MustCompile(`(?m)^# pass [1-9]`); got.Exit != 0 || !passed.MatchString(got.Stdout) {
		t.Fatalf("exit %d\n%s%s", got.Exit, got.Stdout, got.Stderr)
	}
}

func TestEtcd3(t *testing.T) { play(t, harness.Start(t), "etcd3.js", "etcd3") }

// TestEtcd3Auth has its own server, because it enables authentication.
func TestEtcd3Auth(t *testing.T) { play(t, harness.Start(t), "etcd3_auth.js", "etcd3") }

func TestNodeEtcd(t *testing.T) { play(t, harness.Start(t), "nodeetcd.js", "node-etcd") }

// TestMutualTLS has both clients connect with certificates.
func TestMutualTLS(t *testing.T) {
	for script, module := range map[string]string{"etcd3.js": "etcd3", "nodeetcd.js": "node-etcd"} {
		s, files := harness.StartSecure(t)
		play(t, s, script, module, files.CA, files.Cert, files.Key)
	}
}
