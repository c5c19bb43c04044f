package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// ourServer builds etcd once, or returns the one of CAIRN_TEST_ETCD.
func ourServer(t *testing.T) string {
	t.Helper()
	if server := os.Getenv("CAIRN_TEST_ETCD"); server != "" {
		return server
	}
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "etcdctl-test-*"); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "etcd")
		built.out, built.err = exec.Command("go", "build", "-o", built.path, "cairn/cmd/etcd").CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("build etcd: %v\n%s", built.err, built.out)
	}
	return built.path
}

var built struct {
	once sync.Once
	path string
	out  []byte
	err  error
}

// TestServerScripts plays testdata/server: each script against its own server of ours.
func TestServerScripts(t *testing.T) {
	t.Parallel()
	server := ourServer(t)
	ours, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "server"),
		Setup: func(env *testscript.Env) error {
			s := startSide(t, server, ours)
			env.Setenv("ENDPOINT", s.client)
			env.Setenv("ETCDCTL_ENDPOINTS", s.client)
			env.Setenv("ETCDCTL_API", "3")
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
	})
}
