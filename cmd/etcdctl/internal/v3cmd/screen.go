package v3cmd

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/texttable"
)

// screen draws frames over each other on a terminal, in the size that it has at that moment.
type screen struct {
	terminal *os.File
	restore  func()
	resized  chan os.Signal
}

// openScreen switches a terminal to its alternate screen, without a cursor.
func openScreen(terminal *os.File) *screen {
	s := &screen{terminal: terminal, resized: make(chan os.Signal, 1), restore: func() {}}
	signal.Notify(s.resized, syscall.SIGWINCH)
	fmt.Fprint(terminal, "\033[?1049h\033[?25l")
	return s
}

// close restores the terminal.
func (s *screen) close() {
	signal.Stop(s.resized)
	fmt.Fprint(s.terminal, "\033[?25h\033[?1049l")
	s.restore()
}

// quitOnKey reads the keyboard without waiting for a line, and calls stop at q or Ctrl-C. The
// system stops to send Ctrl-C as a signal. Without a keyboard it does nothing.
func (s *screen) quitOnKey(in io.Reader, stop func()) {
	keyboard, ok := in.(*os.File)
	if !ok || !cli.IsTerminal(keyboard) {
		return
	}
	state, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return
	}
	s.restore = func() { _ = term.Restore(int(keyboard.Fd()), state) }
	go func() {
		const ctrlC = 3
		var key [1]byte
		for {
			if _, err := keyboard.Read(key[:]); err != nil || key[0] == 'q' || key[0] == ctrlC {
				stop()
				return
			}
		}
	}()
}

// The size of a terminal that does not report one, such as a serial line.
const (
	defaultColumns = 80
	defaultLines   = 24
)

func (s *screen) size() (columns, lines int) {
	columns, lines, _ = term.GetSize(int(s.terminal.Fd()))
	return cmp.Or(max(columns, 0), defaultColumns), cmp.Or(max(lines, 0), defaultLines)
}

// draw replaces the content of the screen by a frame. frame returns its lines for a number of
// columns.
func (s *screen) draw(frame func(columns int) []string) {
	columns, lines := s.size()
	shown := fitLines(frame(columns), columns, lines)
	// Each line is erased before it is written: behind a character in the last column, the terminal
	// would erase that character.
	text := "\033[H\033[K" + strings.Join(shown, "\r\n\033[K")
	if len(shown) < lines {
		text += "\r\n\033[J"
	}
	fmt.Fprint(s.terminal, text)
}

// fitLines cuts lines to the size of a screen. On a screen with too few lines empty ones are left
// out first; then the last line shows how many lines are missing.
func fitLines(all []string, columns, lines int) []string {
	shown := slices.Clone(all)
	if len(shown) > lines {
		shown = slices.DeleteFunc(shown, func(line string) bool { return line == "" })
	}
	if missing := len(shown) - lines + 1; missing > 1 {
		shown = append(shown[:lines-1], fmt.Sprintf("… %d more lines", missing))
	}
	for i, line := range shown {
		shown[i] = texttable.Cut(line, columns)
	}
	return shown
}
