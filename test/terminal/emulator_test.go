package terminal

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestEmulator shows small outputs on a screen of 5 columns and 3 lines.
func TestEmulator(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{"a\r\nb", "a|b|"},
		{"abcdefg", "abcde|fg|"},
		{"abcde\r\nf", "abcde|f|"},
		{"1\r\n2\r\n3\r\n4", "2|3|4"},
		{"abc\033[H\033[KX", "X||"},
		{"abcde\033[K", "abcd||"},
		{"a\r\nb\r\nc\033[1;1H\033[J", "||"},
		{"键值键", "键值|键|"},
		{"ab\bc", "ac||"},
		{"a\033[?1049h\033[31mb\033[0m", "ab||"},
		{"abc\033[2D\033[K", "a||"},
	} {
		e := &emulator{}
		e.resize(5, 3)
		for _, b := range []byte(c.written) { // in pieces of one byte
			e.write([]byte{b})
		}
		if got := strings.Join(e.text(), "|"); got != c.want {
			t.Errorf("%q shows %q, want %q", c.written, got, c.want)
		}
	}
}

// TestTerminal shows what a shell writes, and the sizes that it is told.
func TestTerminal(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap 'stty size' WINCH; stty size; while read line; do echo \"<$line>\"; done")
	w := Start(t, cmd, 20, 5)
	has := func(text string) {
		t.Helper()
		w.Await(text, func(lines []string) bool { return slices.Contains(lines, text) })
	}
	has("5 20")
	w.Resize(30, 6)
	w.Type("one\n")
	has("<one>")
	has("6 30")
	w.Type("\x04")
	<-w.Exited()
}
