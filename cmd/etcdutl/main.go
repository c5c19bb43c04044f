// Command etcdutl works on files of stopped members: snapshots and data directories, cairn's and
// etcd's.
//
// It owns the command line and the output. It does not own the work: package backup restores,
// imports and exports.
//
// Invariants: a command that fails prints the reason in one line on the standard error and leaves
// no partial file; the exit status is 0 or 1, and 128 for wrong arguments, as etcdutl's.
//
// Concurrency: none.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"cairn/internal/datadir"
	"cairn/internal/etcdfile"
	"cairn/internal/version"
)

// The exit statuses are etcdutl's.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 128
)

// memoryLimit is what the collector of the process keeps to, if GOMEMLIMIT does not say otherwise.
// No command needs memory that grows with its files.
const memoryLimit = 192 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is an error in the arguments.
type usageError struct{ error }

// run is the program as a function.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "Error:", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitError
}

// tool has the values that the commands share.
type tool struct {
	out, err io.Writer
	format   string
	timeout  time.Duration
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	t := &tool{out: stdout, err: stderr}
	root := &cobra.Command{
		Use: "etcdutl", Short: "An administrative command line tool for the files of cairn and etcd.",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return t.checkFormat() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVarP(&t.format, "write-out", "w", "simple", "set the output format (fields, json, simple, table)")
	root.PersistentFlags().DurationVar(&t.timeout, "timeout", 0, "how long to wait for a process that has the files open; 0 fails at once")
	snapshot := &cobra.Command{Use: "snapshot", Short: "Manages snapshots of a member"}
	snapshot.AddCommand(t.snapshotStatus(), t.snapshotRestore(), t.hashKV("hashkv <filename>", "Prints the KV history hash of a given file", snapshotArgument))
	root.AddCommand(snapshot, t.imports(), t.exports(), t.check(), t.hashKV("hashkv <data directory or filename>", "Prints the KV history hash of a data directory or file", dataArgument),
		t.defrag(), t.migrate(), t.version())
	return root
}

// exactly refuses any other number of arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s requires exactly %d argument(s), got %d: see %s --help", cmd.CommandPath(), n, len(args), cmd.CommandPath())}
		}
		return nil
	}
}

// pollInterval is the time between two attempts to open files.
const pollInterval = 50 * time.Millisecond

// whenFree opens files, and tries again for --timeout while another process has them open.
func whenFree[T any](t *tool, open func() (T, error)) (T, error) {
	for deadline := time.Now().Add(t.timeout); ; time.Sleep(pollInterval) {
		files, err := open()
		inUse := errors.As(err, new(*datadir.InUseError)) || errors.Is(err, etcdfile.ErrInUse)
		if !inUse || !time.Now().Before(deadline) {
			return files, err
		}
	}
}

func (t *tool) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Prints the version of etcdutl", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(t.out, "etcdutl version: %s\nAPI version: %s\ncairn version: %s\n", version.API, apiVersion(), version.Cairn)
			return err
		},
	}
}

func apiVersion() string { return version.Minor }
