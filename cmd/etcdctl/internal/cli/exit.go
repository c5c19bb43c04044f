package cli

import (
	"errors"
	"fmt"
)

// Exit is an error that ends the program with an exit code. Message is written to standard error
// unchanged; it includes the line end and may be empty. Err is the cause, if there is one.
type Exit struct {
	Code    int
	Message string
	Err     error
}

func (e *Exit) Error() string { return fmt.Sprintf("exit %d: %s", e.Code, e.Message) }

// Unwrap returns the cause.
func (e *Exit) Unwrap() error { return e.Err }

// Exit codes of errors in the command line that are found before a command runs.
const (
	exitUsage   = 1
	exitUnknown = 3 // unknown command, in v2
)

// usage returns the error for an invalid command line.
func usage(format string, args ...any) error {
	return &Exit{Code: exitUsage, Message: "Error: " + fmt.Sprintf(format, args...) + "\n"}
}

// asExit returns the Exit in an error's chain, or one with the code 1.
func asExit(err error) *Exit {
	var e *Exit
	if errors.As(err, &e) {
		return e
	}
	return &Exit{Code: exitUsage, Message: "Error: " + err.Error() + "\n", Err: err}
}
