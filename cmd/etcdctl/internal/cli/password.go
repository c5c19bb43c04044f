package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Password asks for a password: at a terminal without showing it, else the next line of standard
// input is it. Where there is none, it is empty, which the server then judges, and a line on
// standard error says so.
func (s *Session) Password(prompt string) (string, error) {
	text, err := s.ReadSecret(prompt)
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(s.Err, "no password on standard input: going on with an empty one")
		return "", nil
	}
	return text, err
}

// ReadSecret is Password, but where there is nothing its error wraps io.EOF. It takes no more of
// standard input than a line, so that another can be asked for. Without a prompt nothing is
// written.
func (s *Session) ReadSecret(prompt string) (string, error) {
	fmt.Fprint(s.Out, prompt)
	if f, ok := s.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		typed, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Out)
		if err != nil {
			return "", fmt.Errorf("read password from the terminal: %w", err)
		}
		return string(typed), nil
	}
	line, err := readLine(s.In)
	if prompt != "" {
		fmt.Fprintln(s.Out)
	}
	if err != nil {
		return "", fmt.Errorf("read password from standard input: %w", err)
	}
	return line, nil
}

// readLine reads to the end of a line, byte by byte; io.EOF is for no line at all.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		switch {
		case n == 1 && b[0] == '\n':
			return strings.TrimSuffix(line.String(), "\r"), nil
		case n == 1:
			line.WriteByte(b[0])
		}
		if errors.Is(err, io.EOF) && line.Len() > 0 {
			return line.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}
