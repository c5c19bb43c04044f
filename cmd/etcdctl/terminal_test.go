package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/texttable"
	"cairn/test/harness"
	"cairn/test/terminal"
)

// onTerminal starts etcdctl on a terminal.
func onTerminal(t *testing.T, s *harness.Server, columns, lines int, args ...string) *terminal.Terminal {
	t.Helper()
	path, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+s.URL(), "HOME="+t.TempDir(), "TERM=xterm")
	return terminal.Start(t, cmd, columns, lines)
}

func clientOf(t *testing.T, s *harness.Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestTopFitsTheTerminal resizes the terminal of top while it runs: each frame has the size of the
// terminal, and the lines that do not fit are counted.
func TestTopFitsTheTerminal(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	c := clientOf(t, s)
	w := onTerminal(t, s, 100, 40, "top", "--interval", "50ms")
	more := regexp.MustCompile(`^… [0-9]+ more lines$`)
	complete := func(lines []string) bool {
		if _, err := c.Put(t.Context(), "/键值/应用程序/端口", "1"); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(lines, "\n")
		return strings.HasPrefix(text, "etcdctl top") && strings.Contains(text, "\nREQUESTS BY METHOD               PER S\n") &&
			strings.Contains(text, "\nPut                     ") && strings.Contains(text, "\n/键值/                  ")
	}
	w.Await("the whole frame", complete)
	w.Resize(20, 5)
	w.Await("a frame of 20 columns and 5 lines", func(lines []string) bool {
		return strings.HasPrefix(lines[0], "etcdctl top") && strings.HasPrefix(lines[1], "ENDPOINT") && more.MatchString(lines[4])
	})
	w.Resize(20, 40)
	w.Await("whole lines of 20 columns", func(lines []string) bool {
		_, _ = c.Put(t.Context(), "/a long name of a directory/k", "1")
		text := strings.Join(lines, "\n")
		return strings.Contains(text, "\nREQUESTS …     PER S\n") && regexp.MustCompile(`\n/a long n… +[0-9.]+(\n|$)`).MatchString(text)
	})
	for _, line := range w.Screen() {
		if texttable.Width(line) > 20 {
			t.Errorf("a line of more than 20 columns: %q", line)
		}
	}
	w.Resize(3, 1)
	w.Await("a frame of 3 columns and a line", func(lines []string) bool { return lines[0] == "… …" })
	w.Resize(100, 40)
	w.Await("the whole frame again", complete)
	w.Type("q")
	<-w.Exited()
	if raw := w.Raw(); !strings.HasSuffix(raw, "\033[?25h\033[?1049l") {
		t.Errorf("top did not restore the terminal: it ended with %q", raw[max(len(raw)-40, 0):])
	}
}

// TestTopFollowsTheSize: a new size shows at once, and not only with the next figures.
func TestTopFollowsTheSize(t *testing.T) {
	t.Parallel()
	w := onTerminal(t, harness.Start(t), 80, 24, "top", "--interval", "1h")
	shows := func(want string) {
		t.Helper()
		w.Await(want, func(lines []string) bool { return lines[0] == want })
	}
	shows("etcdctl top")
	w.Resize(8, 4)
	shows("etcdctl…")
	w.Resize(80, 24)
	shows("etcdctl top")
	w.Type("\x03")
	<-w.Exited()
}

// tabKeys starts a server with keys for the tests of TAB, and returns the environment of the
// shells.
func tabKeys(t *testing.T) []string {
	t.Helper()
	s := harness.Start(t)
	c := clientOf(t, s)
	for key, value := range map[string]string{
		"/tab/with space": "of space", "/tab/it's a key": "of apostrophe", `/dollar $HOME "q" \`: "of dollar",
		"/tab/dir a/one": "of one", "/tab/dir a/only": "of only", "/col:on a/x:y=z": "of colon", "/tab/plain": "of plain", "/run $(echo x >&2) `echo y >&2`": "of commands",
	} {
		if _, err := c.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	return append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+s.URL(), "HOME="+home, "XDG_CONFIG_HOME="+home)
}

// TestTabInQuotes presses TAB in bash behind words with quotes. The shell runs the completed line,
// which prints the value of the key.
func TestTabInQuotes(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "/bin/bash", "bash")
	bash := exec.Command("/bin/bash", "--norc", "--noprofile", "-i")
	bash.Env = append(tabKeys(t), "TERM=dumb", "PS1=> ", "INPUTRC=/dev/null")
	w := terminal.Start(t, bash, 200, 100)
	w.Type("source <(etcdctl completion bash)\n")
	for i, line := range []struct{ typed, want string }{
		{`"/tab/wi` + "\t", "of space"},
		{`'/tab/wi` + "\t", "of space"},
		{`/tab/"wi` + "\t", "of space"},
		{`/tab/with\ s` + "\t", "of space"},
		{`'/tab/it` + "\t", "of apostrophe"},
		{`"/tab/it` + "\t", "of apostrophe"},
		{`"/dol` + "\t", "of dollar"},
		{`'/dol` + "\t", "of dollar"},
		{`"/tab/d` + "\t\te", "of one"}, // on is common to both keys
		{`'/tab/dir a/onl` + "\t", "of only"},
		{`"/tab/dir a/"onl` + "\t", "of only"},
		{`"/col:o` + "\t\t", "of colon"},
		{`/tab/pl` + "\t", "of plain"},
		{`"/ru` + "\t", "of commands"},
		{`'/ru` + "\t", "of commands"},
		{`/ru` + "\t", "of commands"},
	} {
		w.Type(fmt.Sprintf("echo '<%d>'; etcdctl get --print-value-only %s\n", i, line.typed))
		w.Await(fmt.Sprintf("%q completes to the key with the value %q", line.typed, line.want), func(lines []string) bool {
			at := slices.Index(lines, fmt.Sprintf("<%d>", i))
			return at >= 0 && at+1 < len(lines) && lines[at+1] == line.want
		})
	}
}

// TestTabInQuotesOfZsh does the same in zsh, which leaves the quote open for the user.
func TestTabInQuotesOfZsh(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "/usr/bin/zsh", "zsh")
	zsh := exec.Command("/usr/bin/zsh", "-f", "-i")
	zsh.Env = append(tabKeys(t), "TERM=dumb", "PS1=> ")
	w := terminal.Start(t, zsh, 200, 100)
	w.Type("unsetopt zle_bracketed_paste prompt_cr prompt_sp 2>/dev/null; autoload -U compinit; compinit -u -D; source <(etcdctl completion zsh); echo ready\n")
	w.Await("zsh is ready", func(lines []string) bool { return slices.Contains(lines, "ready") })
	for _, line := range []struct{ typed, completed string }{
		{`"/tab/wi`, `"/tab/with space`},
		{`'/tab/it`, `'/tab/it'\''s a key`},
		{`/tab/wi`, `/tab/with\ space`},
	} {
		w.Type("etcdctl get " + line.typed + "\t")
		w.Await(line.completed, func(lines []string) bool {
			return slices.ContainsFunc(lines, func(shown string) bool { return strings.Contains(shown, "etcdctl get "+line.completed) })
		})
		w.Type("\x15") // erases the line
	}
}

// TestTabInQuotesOfFish asks fish for its completions.
func TestTabInQuotesOfFish(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "/usr/bin/fish", "fish")
	env := tabKeys(t)
	for typed, want := range map[string]string{
		`"/tab/wi`: "/tab/with space", `'/tab/it`: "/tab/it's a key", `/tab/dir\ a/onl`: "/tab/dir a/only", `/tab/pl`: "/tab/plain",
	} {
		fish := exec.Command("/usr/bin/fish", "--no-config", "-c", "etcdctl completion fish | source; complete -C $LINE")
		fish.Env = append(env, "LINE=etcdctl get "+typed)
		out, err := fish.CombinedOutput()
		if err != nil || !slices.Contains(strings.Split(string(out), "\n"), want) {
			t.Errorf("%s completes to %q (%v), want %q", typed, out, err, want)
		}
	}
}
