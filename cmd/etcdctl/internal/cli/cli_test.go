package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// example is a small program with commands of one dialect, of the other, and of both.
func example(t *testing.T, env map[string]string) (app *App, out, errs *bytes.Buffer) {
	t.Helper()
	say := func(name string) func(*Session) error {
		return func(s *Session) error {
			_, err := fmt.Fprintf(s.Out, "%s %q dash %d\n", name, s.Args, s.Dash)
			return err
		}
	}
	app = New(Dialects{
		V2: []Command{
			{Path: "get", Short: "old get", Run: say("v2 get"), Flags: func(f *pflag.FlagSet) { f.Bool("sort", false, "sort") }},
			{Path: "set", Short: "set", Run: say("v2 set"), Flags: func(f *pflag.FlagSet) { f.Int64("ttl", 0, "`seconds`") }},
			{Path: "member", Short: "Members."},
			{Path: "member list", Short: "list", Run: say("v2 member list")},
			{Path: "member add", Short: "add", Run: say("v2 member add")},
		},
		V3: []Command{
			{Path: "get", Short: "new get", Run: say("v3 get"), Flags: func(f *pflag.FlagSet) { f.Bool("prefix", false, "prefix") }},
			{Path: "put", Short: "put", Run: say("v3 put")},
			{Path: "member list", Short: "list", Run: say("v3 member list")},
		},
		V2Globals: func(f *pflag.FlagSet) { f.StringP("output", "o", "simple", "`format`") },
		V3Globals: func(f *pflag.FlagSet) { f.StringP("write-out", "w", "simple", "`format`") },
	})
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	app.Out, app.Err = out, errs
	app.Getenv = func(name string) string { return env[name] }
	return app, out, errs
}

func TestDialectOfACommandLine(t *testing.T) {
	for _, c := range []struct {
		api, line string
		exit      int
		want      string // what standard output and standard error hold
	}{
		{"", "get k", 0, `v2 get ["k"]`},
		{"2", "get k", 0, `v2 get ["k"]`},
		{"3", "get k", 0, `v3 get ["k"]`},
		{"", "get k --prefix", 0, `v3 get ["k"]`},
		{"", "-w json get k", 0, `v3 get ["k"]`},
		{"", "get -w=json k", 0, `v3 get ["k"]`},
		{"", "get k --sort", 0, `v2 get ["k"]`},
		{"", "-o json get k", 0, `v2 get ["k"]`},
		{"", "get k -o json", 0, `v2 get ["k"]`},
		{"", "get k --endpoints a:1 --debug", 0, `v2 get ["k"]`},
		{"", "put k v", 0, `v3 put ["k" "v"]`},
		{"", "set k v", 0, `v2 set ["k" "v"]`},
		{"", "member list", 0, "v2 member list"},
		{"3", "member list", 0, "v3 member list"},
		{"", "get k --prefix --sort", 1, "--sort is an option of the v2 API and --prefix one of the v3 API"},
		{"2", "get k --prefix", 1, "set it to 3"},
		{"3", "get k --sort", 1, "set it to 2"},
		{"", "set k v -w json", 1, "it is an option of the v3 API, which has no `etcdctl set`"},
		{"2", "put k v", 3, "`etcdctl put` is a command of the v3 API"},
		{"3", "set k v", 1, "`etcdctl set` is a command of the v2 API"},
		{"4", "get k", 1, "ETCDCTL_API=4 is not an API version"},
		{"", "bogus", 3, "No help topic for 'bogus'"},
		{"3", "bogus", 1, `unknown command "bogus" for "etcdctl"`},
		{"", "member lst", 3, "Did you mean 'etcdctl member list'?"},
		{"", "member", 0, "Usage: etcdctl [global options] member COMMAND"},
		{"", "get --bogus", 1, "unknown flag: --bogus"},
		{"", "put k -v", 1, "write -- before an argument"},
		{"", "--version get k", 0, "API version: 2\n"},
		{"3", "--version", 0, "API version: 3."},
	} {
		app, out, errs := example(t, map[string]string{"ETCDCTL_API": c.api})
		exit := app.Run(context.Background(), strings.Fields(c.line))
		if said := out.String() + errs.String(); exit != c.exit || !strings.Contains(said, c.want) {
			t.Errorf("ETCDCTL_API=%s etcdctl %s: exit %d and %q, want %d and %q", c.api, c.line, exit, said, c.exit, c.want)
		}
	}
}

func TestV2OptionsMayHaveOneDash(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"set k v -ttl 60", "set k v --ttl 60"},
		{"set -ttl=60 k v", "set --ttl=60 k v"},
		{"-output json get k", "--output json get k"},
		{"-version", "--version"},
		{"set k -- -ttl", "set k -- -ttl"},
		{"set k --ttl -ttl", "set k --ttl -ttl"}, // a value, if a bad one
		{"-o -sort get k", "-o -sort get k"},
		{"get -w json k", "get -w json k"},
		{"get -bogus k", "get -bogus k"},
		{"get - k", "get - k"},
		{"-D example.com get k", "--discovery-srv example.com get k"},
	} {
		app, _, _ := example(t, nil)
		if got := strings.Join(lenient(strings.Fields(c.line), app.v2Flags, app.allFlags), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.line, got, c.want)
		}
	}
}

func TestDashIsHandedOn(t *testing.T) {
	for line, want := range map[string]string{
		"set k -- --ttl": `["k" "--ttl"] dash 1`,
		"set -- k -v":    `["k" "-v"] dash 0`,
		"set k v":        `["k" "v"] dash -1`,
	} {
		app, out, _ := example(t, nil)
		if app.Run(context.Background(), strings.Fields(line)); !strings.Contains(out.String(), want) {
			t.Errorf("%s: got %q, want %q", line, out, want)
		}
	}
}

func TestHelpListsWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		api, line  string
		has, lacks []string
	}{
		{"", "help", []string{"Commands of the v2 API:", "  set ", "Commands of the v3 API:", "  put ", "--write-out", "--output"}, []string{"[=true"}},
		{"2", "--help", []string{"  set ", "--output"}, []string{"  put ", "--write-out", "v3 API:"}},
		{"3", "-h", []string{"  put ", "--write-out"}, []string{"  set ", "--output"}},
		{"", "help get", []string{"In the v2 API: old get", "--sort", "In the v3 API: new get", "--prefix"}, nil},
		{"3", "get --help", []string{"new get", "--prefix"}, []string{"--sort", "old get"}},
		{"", "h member", []string{"Members.", "member add"}, []string{"  set "}},
		{"", "help set", []string{"--ttl seconds"}, nil},
		{"", "completion --help", []string{"Usage: etcdctl completion", "--no-descriptions"}, []string{"  set "}},
		{"", "member help", []string{"Members.", "member add"}, []string{"  set "}},
		{"3", "member help", []string{"member list"}, []string{"  put ", "member add"}},
		{"2", "member h", []string{"Members."}, nil},
		{"", "member help add", []string{"Usage: etcdctl member add"}, []string{"Members."}},
		{"2", "help put", []string{"put"}, nil}, // not in v2, but its help is available
	} {
		app, out, errs := example(t, map[string]string{"ETCDCTL_API": c.api})
		if exit := app.Run(context.Background(), strings.Fields(c.line)); exit != 0 || errs.Len() > 0 {
			t.Errorf("ETCDCTL_API=%s etcdctl %s: exit %d, %s", c.api, c.line, exit, errs)
		}
		for _, text := range c.has {
			if !strings.Contains(out.String(), text) {
				t.Errorf("ETCDCTL_API=%s etcdctl %s lacks %q:\n%s", c.api, c.line, text, out)
			}
		}
		for _, text := range c.lacks {
			if strings.Contains(out.String(), text) {
				t.Errorf("ETCDCTL_API=%s etcdctl %s has %q:\n%s", c.api, c.line, text, out)
			}
		}
	}
}

func TestPasswordFromStandardInput(t *testing.T) {
	for _, c := range []struct{ in, password, stderr string }{
		{"secret\nmore\n", "secret", ""},
		{"secret", "secret", ""},
		{"", "", "no password on standard input: using an empty one\n"},
	} {
		var out, errs bytes.Buffer
		s := &Session{In: strings.NewReader(c.in), Out: &out, Err: &errs}
		password, err := s.Password("Password: ")
		if err != nil || password != c.password || out.String() != "Password: \n" || errs.String() != c.stderr {
			t.Errorf("%q: got %q, %v; printed %q and %q", c.in, password, err, out.String(), errs.String())
		}
	}
}

func TestGroupFlagsLast(t *testing.T) {
	for line, want := range map[string]string{
		"endpoint --cluster health":               "endpoint health --cluster",
		"-w table endpoint --cluster=true status": "-w table endpoint status --cluster=true",
		"endpoint health --cluster":               "endpoint health --cluster",
		"endpoint --cluster":                      "endpoint --cluster",
		"endpoint --cluster -w json health":       "endpoint --cluster -w json health",
		"endpoint --rev hashkv":                   "endpoint --rev hashkv",
		"put -- endpoint --cluster health":        "put -- endpoint --cluster health",
	} {
		if got := strings.Join(groupFlagsLast(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}
