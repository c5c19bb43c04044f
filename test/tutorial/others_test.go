package tutorial

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

// TestWatches is watch and exec-watch, for which the tutorial's reader has a second terminal.
func TestWatches(t *testing.T) {
	s := harness.Start(t)
	env := []string{"ETCDCTL_API=2"}
	set := func(value string) {
		t.Helper()
		got := s.Run(t, harness.Command{Args: []string{harness.Etcdctl(t), "set", "/testdir/testkey", value}, Env: env})
		if got.Exit != 0 || got.Stdout != value+"\n" {
			t.Fatalf("set: %+v", got)
		}
	}
	// A watch does not report when it has started: the test sets the key until the watch receives
	// an event.
	setUntil := func(value string, heard func() bool) {
		t.Helper()
		for end := time.Now().Add(waitMax); !heard(); {
			if time.Now().After(end) {
				t.Fatalf("no event of %q arrives", value)
			}
			set(value)
		}
	}

	watch := s.Begin(t, harness.Command{Args: []string{harness.Etcdctl(t), "watch", "testdir/testkey"}, Env: env}, nil)
	setUntil("Hello watch", func() bool {
		select {
		case <-watch.Exited():
			return true
		default:
			return false
		}
	})
	if got := watch.Output(); got != "Hello watch\n" {
		t.Errorf("watch prints %q", got)
	}

	for _, name := range []string{"config", "Documentation", "README.md"} {
		if err := os.WriteFile(filepath.Join(s.Dir(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	watch = s.Begin(t, harness.Command{Args: []string{harness.Etcdctl(t), "exec-watch", "testdir/testkey", "--", "sh", "-c", "ls"}, Env: env}, nil)
	want := "Documentation\nREADME.md\nconfig\ndata\n"
	setUntil("Hello exec-watch", func() bool { return strings.Contains(watch.Output(), want) })
}

// TestMemberAndBackup is member list, and a backup of the running server.
func TestMemberAndBackup(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has another data directory")
	}
	s := harness.Start(t)
	run := func(args ...string) harness.Result {
		t.Helper()
		return s.Run(t, harness.Command{Args: append([]string{harness.Etcdctl(t)}, args...)})
	}
	if got := run("set", "/testdir/testkey", "Hello world"); got.Exit != 0 {
		t.Fatalf("set: %+v", got)
	}
	listed := regexp.MustCompile(`^[0-9a-f]+: name=default peerURLs=http://127\.0\.0\.1:\d+ clientURLs=` + regexp.QuoteMeta(s.URL()) + ` isLeader=true\n$`)
	if got := run("member", "list"); got.Exit != 0 || !listed.MatchString(got.Stdout) {
		t.Errorf("member list: %+v", got)
	}
	backup := filepath.Join(s.Dir(), "etcd_backup")
	if got := run("backup", "--data-dir", s.DataDir(), "--backup-dir", backup); got.Exit != 0 || got.Stdout != "" {
		t.Errorf("backup: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(backup, "member")); err != nil {
		t.Error(err)
	}
	if got := run("get", "/testdir/testkey"); got.Stdout != "Hello world\n" {
		t.Errorf("get behind the backup: %+v", got)
	}
	// The page removes the only member, which etcd 3.1.5 refuses, too. Its next command costs a
	// lone member its quorum.
	id, _, _ := strings.Cut(run("member", "list").Stdout, ":")
	if got := run("member", "remove", id); got.Exit != 1 || !strings.Contains(got.Stderr, "the only member of a cluster cannot be removed") {
		t.Errorf("member remove: %+v", got)
	}
	added := regexp.MustCompile(`^Added member named etcd3 with ID [0-9a-f]+ to cluster\n\nETCD_NAME="etcd3"\nETCD_INITIAL_CLUSTER=".*etcd3=http://192\.168\.1\.100:2380.*"\n` +
		`ETCD_INITIAL_CLUSTER_STATE="existing"\n$`)
	if got := run("member", "add", "etcd3", "http://192.168.1.100:2380"); got.Exit != 0 || !added.MatchString(got.Stdout) {
		t.Errorf("member add: %+v", got)
	}
	if got := run("set", "/testdir/testkey", "lost"); got.Exit != 4 || !strings.Contains(got.Stderr, "1 of 2 members up, waiting for a majority") {
		t.Errorf("set without a quorum: %+v", got)
	}
}
