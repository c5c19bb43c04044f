package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/backup"
	"cairn/test/harness"
)

// The scripts of testdata/faults run every command of etcdutl as it should be used, with a wrong
// argument, and with files that are missing, damaged, or must not be replaced. They run in this
// process. Each has its own copy of the files
//
//	etcd.db cairn.db member   snapshots of etcd and of cairn, a data directory
//	etcd-cut.db cairn-cut.db broken   the same, damaged
//	etcd-nohash.db                    etcd.db without its SHA-256
//	full                      a directory that is not empty
const faultScripts = "testdata/faults"

// faultKinds are the commands of the scripts: KIND CODE ARG…, with the exit code.
var faultKinds = []string{"right", "wrong", "missing", "damaged", "refused"}

// without are the kinds that a command does not have, with the reason.
var without = map[string][]string{
	"version":               {"missing", "damaged", "refused"}, // reads no file
	"defrag":                {"missing", "damaged", "refused"}, // its directory is not read
	"migrate":               {"missing", "damaged", "refused"}, // its directory is not read
	"snapshot status":       {"refused"},                       // writes no file
	"snapshot hashkv":       {"refused"},
	"hashkv":                {"refused"},
	"check":                 {"refused"},
	"completion bash":       {"missing", "damaged", "refused"},
	"completion zsh":        {"missing", "damaged", "refused"},
	"completion fish":       {"missing", "damaged", "refused"},
	"completion powershell": {"missing", "damaged", "refused"},
}

// commandPaths returns the paths of the commands that do something.
func commandPaths(c *cobra.Command) (paths []string) {
	for _, sub := range c.Commands() {
		if sub.HasSubCommands() {
			paths = append(paths, commandPaths(sub)...)
		} else if sub.Name() != "help" {
			paths = append(paths, strings.TrimPrefix(sub.CommandPath(), "etcdutl "))
		}
	}
	return paths
}

func completeRoot() *cobra.Command {
	root := newRoot(new(bytes.Buffer), new(bytes.Buffer))
	root.InitDefaultCompletionCmd()
	return root
}

func TestEveryCommandHasFaultScripts(t *testing.T) {
	var lines []string
	scripts, err := filepath.Glob(filepath.Join(faultScripts, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(string(text), "\n")...)
	}
	for _, path := range commandPaths(completeRoot()) {
		for _, kind := range faultKinds {
			covered := slices.ContainsFunc(lines, func(line string) bool {
				words := strings.SplitN(line, " ", 3)
				return len(words) == 3 && words[0] == kind && strings.HasPrefix(words[2]+" ", path+" ")
			})
			if covered == slices.Contains(without[path], kind) {
				t.Errorf("%s: scripts with %q: %t, said to need none: %t", path, kind, covered, !covered)
			}
		}
	}
}

func TestFaultScripts(t *testing.T) {
	files := t.TempDir()
	server := harness.Start(t)
	faultFiles(t, server.URL(), files)
	commands := map[string]func(*testscript.TestScript, bool, []string){}
	for _, kind := range faultKinds {
		commands[kind] = exits
	}
	testscript.Run(t, testscript.Params{
		Dir: faultScripts, Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("URL", server.URL())
			return os.CopyFS(env.WorkDir, os.DirFS(files))
		},
	})
}

// faultFiles makes the files of the scripts.
func faultFiles(t *testing.T, url, dir string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(snapshotOf(t, "3.4.23"), path("etcd.db")))
	etcdutl(t, "import", path("etcd.db"), "--data-dir", path("member"))
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
	must(err)
	defer c.Close()
	_, err = c.Put(t.Context(), "a", "1")
	must(err)
	in, err := c.Snapshot(t.Context())
	must(err)
	_, err = backup.Save(path("cairn.db"), in)
	must(err)
	for _, name := range []string{"etcd", "cairn"} {
		whole, err := os.ReadFile(path(name + ".db"))
		must(err)
		must(os.WriteFile(path(name+"-cut.db"), whole[:len(whole)*2/3], 0o600))
		if name == "etcd" {
			must(os.WriteFile(path("etcd-nohash.db"), whole[:len(whole)-sha256.Size], 0o600))
		}
	}
	must(os.MkdirAll(path("broken/member"), 0o700))
	must(os.WriteFile(path("broken/member/FORMAT"), []byte("nonsense"), 0o600))
	must(os.MkdirAll(path("full/something"), 0o700))
	must(os.WriteFile(path("full/something/file"), nil, 0o600))
}

// exits runs etcdutl, which must end with the exit code and, unless that is 0, print a reason.
// Names in the script's directory are given as $WORK/NAME.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: CODE ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var stdout, stderr bytes.Buffer
	code := run(args[1:], &stdout, &stderr)
	fmt.Fprint(ts.Stdout(), stdout.String())
	fmt.Fprint(ts.Stderr(), stderr.String())
	if code != want || code != exitOK && stderr.Len() == 0 {
		ts.Fatalf("etcdutl %s: exit code %d, want %d\n%s%s", strings.Join(args[1:], " "), code, want, stdout.String(), stderr.String())
	}
}
