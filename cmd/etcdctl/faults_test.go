package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/program"
	"cairn/test/harness"
)

// The scripts of testdata/faults run every command with a wrong argument, against an endpoint on
// which nothing listens, and as a user without the permission. They run in this process, since
// starting etcdctl 300 times would take a minute, and share a server with the users root:root and
// guest:guest; guest has no permissions.
const faultScripts = "testdata/faults"

// The kinds of faults, which are commands of the scripts:
//
//	wrong CODE ARG…        a wrong argument
//	unreachable CODE ARG…  with --endpoints 127.0.0.1:1
//	waiting ARG…           the same, for a command that waits for the cluster until it is interrupted
//	refused CODE ARG…      as guest, or as the user that the arguments name
//
// CODE is the exit code. The output must have a reason. The file $STDIN is the standard input.
var faultKinds = []string{"wrong", "unreachable", "refused"}

// exempt are the commands for which a kind of fault does not exist, with the reason.
var exempt = map[string]string{
	"certs": "uses no server", "profile": "uses no server", "explain": "uses no server", "backup": "uses no server",
	"snapshot restore": "uses no server", "snapshot status": "uses no server", "version": "uses no server",
	"endpoint certs": "a TLS handshake needs no permission", "cluster-health": "needs no permission", "v2 member list": "needs no permission",
	"v2 member remove": "the only member is refused before the request",
}

// withoutArguments are commands that ignore their arguments, as etcd's do, and have no flag that
// may be wrong.
var withoutArguments = []string{"version"}

func excused(d cli.Dialect, path, kind string) bool {
	group, _, _ := strings.Cut(path, " ")
	reason := exempt[path] + exempt[group] + exempt[fmt.Sprintf("v%d %s", d, path)]
	switch kind {
	case "wrong":
		return slices.Contains(withoutArguments, path)
	case "unreachable":
		return strings.HasPrefix(reason, "uses no server")
	default:
		return reason != ""
	}
}

// TestEveryCommandHasFaultScripts fails for each command of either dialect without a script of each
// kind.
func TestEveryCommandHasFaultScripts(t *testing.T) {
	app := program.New()
	for _, d := range []cli.Dialect{cli.V2, cli.V3} {
		paths := app.Commands(d)
		covered := map[string]bool{} // "kind path"
		scripts, err := filepath.Glob(filepath.Join(faultScripts, fmt.Sprintf("v%d_*.txtar", d)))
		if err != nil {
			t.Fatal(err)
		}
		for _, script := range scripts {
			text, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(string(text), "\n") {
				kind, rest, _ := strings.Cut(line, " ")
				if kind == "waiting" {
					kind = "unreachable"
				}
				if slices.Contains(faultKinds, kind) {
					covered[kind+" "+commandOf(paths, rest)] = true
				}
			}
		}
		for _, path := range paths {
			for _, kind := range faultKinds {
				if !covered[kind+" "+path] && !excused(d, path, kind) {
					t.Errorf("no script of %s has a line %q for the v%d command %q", faultScripts, kind, d, path)
				}
				if covered[kind+" "+path] && excused(d, path, kind) {
					t.Errorf("the v%d command %q has a line %q, and is said to need none", d, path, kind)
				}
			}
		}
	}
}

// commandOf returns the longest path among the words of a line.
func commandOf(paths []string, line string) (longest string) {
	line = " " + strings.Join(strings.Fields(line), " ") + " "
	for _, path := range paths {
		if strings.Contains(line, " "+path+" ") && len(path) > len(longest) {
			longest = path
		}
	}
	return longest
}

// TestFaultScripts runs testdata/faults.
func TestFaultScripts(t *testing.T) {
	t.Parallel()
	server := harness.Start(t, "--bcrypt-cost=4")
	enableAuth(t, server.URL())
	testscript.Run(t, testscript.Params{
		Dir: faultScripts,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"wrong":       faulty(),
			"unreachable": faulty("--endpoints", "http://127.0.0.1:1"),
			"waiting":     waiting,
			"refused":     faulty("guest"),
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ETCDCTL_ENDPOINTS", server.URL())
			env.Setenv("HOME", env.WorkDir)
			patientClient(env)
			return nil
		},
	})
}

// enableAuth creates the users of the scripts.
func enableAuth(t *testing.T, endpoint string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, e1 := c.UserAdd(ctx, "root", "root")
	_, e2 := c.UserGrantRole(ctx, "root", "root")
	_, e3 := c.UserAdd(ctx, "guest", "guest")
	_, e4 := c.Put(ctx, "a", "1")
	_, e5 := c.AuthEnable(ctx)
	for _, err := range []error{e1, e2, e3, e4, e5} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// faulty returns a script's command that runs etcdctl, which must fail with the exit code and a
// reason.
func faulty(options ...string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: CODE ARG…")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		var stdout, stderr bytes.Buffer
		code := runEtcdctl(context.Background(), ts, withOptions(ts, options, args[1:]), &stdout, &stderr)
		fmt.Fprint(ts.Stdout(), stdout.String())
		fmt.Fprint(ts.Stderr(), stderr.String())
		if code != want || stdout.Len()+stderr.Len() == 0 {
			ts.Fatalf("etcdctl %s: exit code %d, want %d and a reason\n%s%s", strings.Join(args[1:], " "), code, want, stdout.String(), stderr.String())
		}
	}
}

// withOptions adds the options of a kind to arguments. Those of a user and of time depend on the
// dialect.
func withOptions(ts *testscript.TestScript, options, args []string) []string {
	v2 := ts.Getenv("ETCDCTL_API") == "2"
	if slices.Contains(options, "guest") {
		switch {
		case v2:
			options = []string{"-u", "guest:guest"}
		case slices.Contains(args, "--user"):
			options = nil
		default:
			options = []string{"--user", "guest:guest"}
		}
	} else if len(options) > 0 && v2 {
		options = append(options, "--no-sync", "--total-timeout", "5s")
	} else if len(options) > 0 {
		options = append(options, "--command-timeout", "50ms")
	}
	return slices.Concat(options, args)
}

func runEtcdctl(ctx context.Context, ts *testscript.TestScript, args []string, stdout, stderr io.Writer) int {
	stdin := ""
	if file := ts.Getenv("STDIN"); file != "" {
		stdin = ts.ReadFile(file)
	}
	app := program.New()
	app.In, app.Out, app.Err, app.Getenv = strings.NewReader(stdin), stdout, stderr, ts.Getenv
	// the working directory belongs to the process
	for i, arg := range args {
		if strings.HasSuffix(arg, ".json") || strings.HasSuffix(arg, ".jsonl") || strings.HasSuffix(arg, ".db") {
			args[i] = ts.MkAbs(arg)
		}
	}
	return app.Run(ctx, args)
}

// waiting runs a command against an unreachable endpoint until it has printed why it waits, and
// interrupts it.
func waiting(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: waiting ARG…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stderr := &awaited{text: "no endpoint can be reached; trying again", found: cancel}
	args = append([]string{"--endpoints", "127.0.0.1:1", "--dial-timeout", "10ms"}, args...)
	runEtcdctl(ctx, ts, args, io.Discard, stderr)
	fmt.Fprint(ts.Stderr(), stderr.String())
	if !strings.Contains(stderr.String(), stderr.text) {
		ts.Fatalf("etcdctl %s did not print why it waits:\n%s", strings.Join(args, " "), stderr.String())
	}
}

// awaited is a buffer that calls found when it contains a text.
type awaited struct {
	mu    sync.Mutex // guards b
	b     bytes.Buffer
	text  string
	found func()
}

func (a *awaited) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.b.Write(p)
	if strings.Contains(a.b.String(), a.text) {
		a.found()
	}
	return n, err
}

func (a *awaited) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.b.String()
}
