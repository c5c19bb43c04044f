// Package confd generates a configuration file from the keys of a directory as confd's users do,
// but with etcdctl alone: a script writes the file from `etcdctl ls` and `etcdctl get`, and
// `etcdctl exec-watch` runs the script at each change.
//
// It owns testdata/render.sh, which is that script. The file must match the keys after any number
// of changes.
//
// Concurrency: the watching client runs in parallel with the test.
package confd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// followMax is how long the file may take to match the keys, far above the usual time.
const followMax = time.Minute

// TestExecWatch changes keys at a member.
func TestExecWatch(t *testing.T) {
	s := harness.Start(t)
	follow(t, s, s.URL(), harness.Etcdctl(t))
}

// TestExecWatchThroughProxy changes keys through etcd --proxy, which the watching client and the
// script use as well.
func TestExecWatchThroughProxy(t *testing.T) {
	s := harness.Start(t)
	var members struct {
		Members []struct {
			Name     string
			PeerURLs []string
		}
	}
	_, text, _ := s.HTTP("GET", "/v2/members", "")
	if err := json.Unmarshal([]byte(text), &members); err != nil || len(members.Members) != 1 {
		t.Fatalf("members: %s, %v", text, err)
	}
	address := "127.0.0.1:" + harness.FreePort(t)
	cluster := members.Members[0].Name + "=" + members.Members[0].PeerURLs[0]
	harness.Launch(t, exec.Command(harness.Etcd(t), "--proxy", "on", "--data-dir", filepath.Join(t.TempDir(), "data"),
		"--listen-client-urls", "http://"+address, "--initial-cluster", cluster))
	harness.Await(t, "the proxy serves", func() bool {
		resp, err := http.Get("http://" + address + "/version")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	// Without the flag, the client would ask for the members, and continue without the proxy.
	program := filepath.Join(t.TempDir(), "etcdctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec '"+harness.Etcdctl(t)+"' --no-sync \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	follow(t, s, "http://"+address, program)
	if _, text, _ := s.HTTP("GET", "/v2/keys/app/mode", ""); !strings.Contains(text, `"green"`) {
		t.Errorf("the member has %s", text)
	}
}

// follow changes keys at an endpoint, and checks the file that a watching client there has written.
func follow(t *testing.T, s *harness.Server, endpoint, program string) {
	t.Helper()
	script, err := filepath.Abs("testdata/render.sh")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"ETCDCTL_API=2", "ETCDCTL=" + program, "ETCDCTL_ENDPOINTS=" + endpoint}
	etcdctl := func(args ...string) {
		t.Helper()
		if got := s.Run(t, harness.Command{Args: append([]string{program}, args...), Env: env}); got.Exit != 0 {
			t.Fatalf("etcdctl %q: %+v", args, got)
		}
	}
	config := filepath.Join(s.Dir(), "app.conf")
	etcdctl("set", "/app/listen", "127.0.0.1:80")
	etcdctl("mk", "/app/mode", "blue")
	run := harness.Command{Args: []string{program, "exec-watch", "--recursive", "/app", "--", "/bin/sh", script, config}, Env: env}
	watcher := s.Begin(t, run, nil)

	// The client does not report when its watch has started, so the test changes a key until the
	// first file exists.
	for n, end := 0, time.Now().Add(followMax); ; n++ {
		etcdctl("set", "/app/beat", fmt.Sprint(n))
		if _, err := os.Stat(config); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no file after %d changes", n)
		}
	}
	etcdctl("rm", "/app/beat")
	wait(t, config, "listen = 127.0.0.1:80\nmode = blue\n")

	etcdctl("set", "/app/mode", "green")
	etcdctl("set", "/app/workers", "4")
	etcdctl("rm", "/app/listen")
	wait(t, config, "mode = green\nworkers = 4\n")

	etcdctl("set", "--ttl", "600", "/app/flag", "on")
	wait(t, config, "flag = on\nmode = green\nworkers = 4\n")
	etcdctl("set", "--ttl", "1", "/app/flag", "on")
	// the key expires, which is a change, too
	wait(t, config, "mode = green\nworkers = 4\n")

	watcher.Signal(syscall.SIGINT)
	select {
	case <-watcher.Exited():
	case <-time.After(followMax):
		t.Error("an interrupt did not end the watch")
	}
}

// wait waits until the file has the wanted content.
func wait(t *testing.T, file, want string) {
	t.Helper()
	var got []byte
	for end := time.Now().Add(followMax); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var err error
		if got, err = os.ReadFile(file); err == nil && string(got) == want {
			return
		}
	}
	t.Fatalf("%s has\n%s\nwant\n%s", filepath.Base(file), strings.TrimSpace(string(got)), want)
}
