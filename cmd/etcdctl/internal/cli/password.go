package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Password asks for a password: at a terminal without showing it, else the next line of standard input is it. Where
// there is none, it is empty, which the server then judges, and a line on standard error says so.
func (s *Session) Password(prompt string) (string, error) {
	fmt.Fprint(s.Out, prompt)
	if f, ok := s.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		typed, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Out)
		if err != nil {
			return "", fmt.Errorf("read password from the terminal: %w", err)
		}
		return string(typed), nil
	}
	line, err := bufio.NewReader(s.In).ReadString('\n')
	fmt.Fprintln(s.Out)
	switch {
	case errors.Is(err, io.EOF) && line == "":
		fmt.Fprintln(s.Err, "no password on standard input: going on with an empty one")
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("read password from standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
