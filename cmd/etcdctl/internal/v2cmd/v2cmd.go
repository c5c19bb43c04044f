// Package v2cmd has etcdctl's commands of the v2 API.
//
// It owns their names, flags, output formats and exit codes, which scripts rely on. It does not own
// HTTP (v2client does), the choice between the dialects (cli does), or the diagnosis of endpoints
// (reach does).
//
// Invariants: the output in the formats simple, extended and json, and lines beginning `Error:  `,
// are those of etcd 3.1's etcdctl, byte for byte. Help texts, and lines after the error, are our
// own.
//
// Concurrency: a process runs one command in one goroutine, besides signal handlers and the
// programs that exec-watch starts.
package v2cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

// Exit codes of the v2 commands.
const (
	exitBadArgs    = 1
	exitConnection = 2
	exitServer     = 4
	exitUnhealthy  = 5
)

// Commands returns the commands.
func Commands() []cli.Command {
	return slices.Concat(
		[]cli.Command{
			setCommand, getCommand, updateCommand, mkCommand, rmCommand, lsCommand,
			mkdirCommand, setdirCommand, updatedirCommand, rmdirCommand,
			watchCommand, execWatchCommand, clusterHealthCommand, backupCommand, importCommand,
		},
		memberCommands, userCommands, roleCommands, authCommands)
}

// Globals adds the options of every v2 command.
func Globals(flags *pflag.FlagSet) {
	flags.Bool("no-sync", false, "use the given endpoints only: do not request the list of members from the cluster")
	flags.StringP("output", "o", "simple", "output `format`: simple, extended or json")
	flags.StringP("peers", "C", "", "old name of --endpoints: `URLS`")
	flags.String("endpoint", "", "old name of --endpoints: `URLS`")
	flags.String("cert-file", "", "client certificate `file` (PEM)")
	flags.String("key-file", "", "key `file` of the client certificate (PEM)")
	flags.String("ca-file", "", "verify the certificates of servers with the CA certificates in this `file` (PEM)")
	flags.StringP("username", "u", "", "authenticate as `user[:password]`; asks for the password if it is missing")
	flags.Duration("timeout", 2*time.Second, "timeout for connecting, and for one response")
	flags.Duration("total-timeout", 5*time.Second, "timeout for the whole command, except watches")
}

// fail returns the exit for an error of a request.
func fail(code int, err error) error {
	text := fmt.Sprintf("Error:  %v\n", err)
	var cluster *v2client.ClusterError
	if errors.As(err, &cluster) {
		text += cluster.Detail() + "\n"
	}
	return &cli.Exit{Code: code, Message: text, Err: err}
}

// unreachable is fail; if the error may come from an endpoint that cannot be reached, or from a
// cluster without a leader, it adds the advice for each endpoint.
func unreachable(s *cli.Session, code int, err error, endpoints ...string) error {
	return withAdvice(s, fail(code, err), err, endpoints...)
}

// withAdvice adds the advice for each endpoint to an exit, if its cause err calls for it. endpoints
// are those of the request; by default, the ones that the user has given.
func withAdvice(s *cli.Session, exit, err error, endpoints ...string) error {
	var e *cli.Exit
	if errors.As(exit, &e) && noResponse(err) {
		e.Message += advice(s, endpoints, selfExplaining(err))
	}
	return exit
}

// selfExplaining reports whether the text of an error names the endpoint and the cause already, so
// that etcd's text can stay as it is.
func selfExplaining(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "unsupported protocol scheme")
}

// noResponse reports whether an error means that no endpoint served a request.
func noResponse(err error) bool {
	var cluster *v2client.ClusterError
	var known *v2client.Error
	var foreign *v2client.NotEtcdError
	switch {
	case errors.As(err, &cluster), errors.As(err, &foreign), errors.Is(err, context.DeadlineExceeded), v2client.Unreachable(err):
		return true
	case errors.As(err, &known):
		return known.Code == v2client.CodeRaftInternal
	}
	return false
}

// plain returns an exit with a text that has no prefix.
func plain(format string, args ...any) error {
	return &cli.Exit{Code: exitBadArgs, Message: fmt.Sprintf(format, args...) + "\n"}
}

var (
	errKeyRequired   = errors.New("key required")
	errValueRequired = errors.New("value required")
)

// arguments returns the arguments of a command. v2's option parser stops at the first argument, so
// that a later "--" is an argument: `set /k -- --ttl` stores two dashes.
func arguments(s *cli.Session) []string {
	if s.Dash <= 0 {
		return s.Args
	}
	return slices.Insert(slices.Clone(s.Args), s.Dash, "--")
}

// keyOf returns the first argument, which is the key.
func keyOf(s *cli.Session) (string, error) {
	args := arguments(s)
	if len(args) == 0 {
		return "", fail(exitBadArgs, errKeyRequired)
	}
	return args[0], nil
}

// keyAndValue returns the first two arguments; the value is read from standard input if it is not
// among them.
func keyAndValue(s *cli.Session) (key, value string, err error) {
	if key, err = keyOf(s); err != nil {
		return "", "", err
	}
	if args := arguments(s); len(args) > 1 {
		return key, args[1], nil
	}
	data, err := io.ReadAll(s.In)
	if err != nil {
		return "", "", fail(exitBadArgs, fmt.Errorf("read value from standard input: %w", err))
	}
	if len(data) == 0 {
		return "", "", fail(exitBadArgs, errValueRequired)
	}
	return key, string(data), nil
}

// ttlFlag adds --ttl, and ttl reads it.
func ttlFlag(flags *pflag.FlagSet) {
	flags.Int64("ttl", 0, "time to live in `seconds`; 0 means none")
}

func ttl(s *cli.Session) time.Duration { return time.Duration(s.Int64("ttl")) * time.Second }
