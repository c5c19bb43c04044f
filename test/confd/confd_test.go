// Package confd keeps a configuration file as the keys of a directory say, the way in which confd's
// users do it with etcdctl alone: a script writes the file from `etcdctl ls` and `etcdctl get`, and
// `etcdctl exec-watch` runs it at each change.
//
// It owns testdata/render.sh, which is that script. The file has to come to say what the keys say
// after any number of changes.
//
// Concurrency: the watching client runs beside the test.
package confd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// settleMax is how long the file may take to follow the keys. It is far above what it takes.
const settleMax = 30 * time.Second

func TestExecWatch(t *testing.T) {
	s := harness.Start(t)
	script, err := filepath.Abs("testdata/render.sh")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"ETCDCTL_API=2", "ETCDCTL=" + harness.Etcdctl(t)}
	etcdctl := func(args ...string) {
		t.Helper()
		if got := s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...), Env: env}); got.Exit != 0 {
			t.Fatalf("etcdctl %q: %+v", args, got)
		}
	}
	config := filepath.Join(s.Dir(), "app.conf")
	etcdctl("set", "/app/listen", "127.0.0.1:80")
	etcdctl("mk", "/app/mode", "blue")
	run := harness.Command{Args: []string{harness.Etcdctl(t), "exec-watch", "--recursive", "/app", "--", "/bin/sh", script, config}, Env: env}
	watcher := s.Begin(t, run, nil)

	// When the watch has begun is not said, so a key is changed until the first file is there.
	for n := 0; ; n++ {
		etcdctl("set", "/app/beat", fmt.Sprint(n))
		if _, err := os.Stat(config); err == nil {
			break
		}
		if n > 200 {
			t.Fatal("no file after 200 changes")
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
	// its time is up: an expiry is a change like another
	wait(t, config, "mode = green\nworkers = 4\n")

	watcher.Signal(syscall.SIGINT)
	select {
	case <-watcher.Exited():
	case <-time.After(settleMax):
		t.Error("an interrupt did not end the watch")
	}
}

// wait waits until the file says what is wanted.
func wait(t *testing.T, file, want string) {
	t.Helper()
	var got []byte
	for end := time.Now().Add(settleMax); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var err error
		if got, err = os.ReadFile(file); err == nil && string(got) == want {
			return
		}
	}
	t.Fatalf("%s says\n%s\nwant\n%s", filepath.Base(file), strings.TrimSpace(string(got)), want)
}
