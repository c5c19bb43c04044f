package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Password reads a password: from a terminal without echo, else from the next line of standard
// input. If standard input is empty it returns an empty password and prints a warning to standard
// error; the server decides whether it accepts one.
func (s *Session) Password(prompt string) (string, error) {
	text, err := s.ReadSecret(prompt)
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(s.Err, "no password on standard input: using an empty one")
		return "", nil
	}
	return text, err
}

// ReadSecret is like Password, but returns an error that wraps io.EOF if standard input is empty.
// It reads one line only, so that a second password can follow. Without a prompt it writes nothing.
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

// readLine reads one line, byte by byte. It returns io.EOF if there is no line.
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
