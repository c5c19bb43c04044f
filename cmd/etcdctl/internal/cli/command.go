// Package cli is the framework of etcdctl's commands.
//
// It owns the type Command, the tree built from the commands of both dialects, the choice of the
// dialect of a command line, the global options, the layout of help texts, exit codes, and the
// reading of passwords. The commands themselves are in v2cmd and v3cmd. Package cli does not talk
// to servers.
//
// Invariants: a flag that only one dialect has is annotated with that dialect, so that the flags
// given on a command line determine the dialect; a flag that both dialects have has the same type
// and meaning in both.
//
// Concurrency: a process runs one command; the package is not safe for concurrent use.
package cli

import (
	"context"
	"io"

	"github.com/spf13/pflag"
)

// Dialect is one of the two APIs.
type Dialect int

// The dialects, numbered as ETCDCTL_API numbers them.
const (
	V2 Dialect = 2
	V3 Dialect = 3
)

// Command is a command of one dialect. Where both dialects have a command of the same name, each
// has its own Command.
type Command struct {
	Path    string // name, after the names of the groups that it is in: "member list"
	Args    string // arguments as the usage line shows them: "<key> [value]"
	Short   string // what the command does, in one line
	Long    string // further help; may be empty
	Example string // command lines with their output
	Flags   func(*pflag.FlagSet)
	// Run runs the command. A Command without Run is a group of commands.
	Run func(*Session) error
	// Beyond marks a command that etcd's etcdctl does not have.
	Beyond bool
	// Complete returns the words that may come next on a command line, for shell completion. It
	// may be nil.
	Complete func(s *Session) []string
}

// Dialects holds the commands and global options of each dialect. Those in Both belong to both.
type Dialects struct {
	V2, V3, Both         []Command
	V2Globals, V3Globals func(*pflag.FlagSet)
}

// Session is one run of a command: its arguments, flags, environment and streams.
type Session struct {
	Context context.Context
	// Args are the arguments after the name of the command.
	Args []string
	// Dash is the number of arguments before "--", or -1 if there is no "--".
	Dash   int
	Flags  *pflag.FlagSet
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
}

// Bool returns the value of a flag. Like the other getters it panics if the command does not have
// the flag.
func (s *Session) Bool(name string) bool { return value(s.Flags.GetBool(name)) }

// String returns the value of a flag.
func (s *Session) String(name string) string { return value(s.Flags.GetString(name)) }

// Int64 returns the value of a flag.
func (s *Session) Int64(name string) int64 { return value(s.Flags.GetInt64(name)) }

// Uint64 returns the value of a flag.
func (s *Session) Uint64(name string) uint64 { return value(s.Flags.GetUint64(name)) }

func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
