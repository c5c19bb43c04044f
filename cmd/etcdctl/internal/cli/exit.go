package cli

import (
	"errors"
	"fmt"
)

// Exit ends the program with a code. Message goes to standard error as it is, line end included; it
// may be empty.
type Exit struct {
	Code    int
	Message string
}

func (e *Exit) Error() string { return fmt.Sprintf("exit %d: %s", e.Code, e.Message) }

// Codes of faults in the command line, which are found before a dialect's command runs.
const (
	exitUsage   = 1
	exitUnknown = 3 // no such command, in v2
)

// usage is the error for a command line that cannot be run.
func usage(format string, args ...any) error {
	return &Exit{exitUsage, "Error: " + fmt.Sprintf(format, args...) + "\n"}
}

// asExit returns the exit that an error stands for.
func asExit(err error) *Exit {
	var e *Exit
	if errors.As(err, &e) {
		return e
	}
	return &Exit{exitUsage, "Error: " + err.Error() + "\n"}
}
