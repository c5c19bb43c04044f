// Package localcmd has etcdctl's commands that need no server: certs, profile and explain.
//
// It owns the certificates that certs issues, the file of profiles, and the texts of explain. It
// does not own TLS configurations (reach does) nor the options that a profile sets (v2cmd and v3cmd
// do).
//
// Invariants: private keys are written with mode 0600; no existing certificate, key or profile is
// replaced without --force.
//
// Concurrency: a process runs one command; nothing here is safe for concurrent use.
package localcmd

import (
	"fmt"
	"slices"

	"cairn/cmd/etcdctl/internal/cli"
)

// exitArgs is the exit code for wrong arguments.
const exitArgs = 128

// Commands returns the commands.
func Commands() []cli.Command { return slices.Concat(certsCommands, profileCommands, explainCommands) }

// failf returns an exit with a code and a text.
func failf(code int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &cli.Exit{Code: code, Message: fmt.Sprintf("Error: %v\n", err), Err: err}
}
