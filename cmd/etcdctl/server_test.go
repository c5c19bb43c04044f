package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cairn/test/harness"
)

// TestServerScripts runs testdata/server: each script against its own server of ours.
func TestServerScripts(t *testing.T) {
	t.Parallel()
	server := harness.Etcd(t)
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
			patientClient(env)
			return setTab(env)
		},
	})
}
