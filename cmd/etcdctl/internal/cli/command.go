// Package cli is the frame that etcdctl's commands stand in.
//
// It owns what a command is, the tree built from the commands of both dialects, the decision which
// dialect a command line is in, the global options, help texts' layout, exit codes' carrier and the
// reading of passwords. It does not own any command (v2cmd and v3cmd do) and speaks to no server.
//
// Invariants: a flag that only one dialect has is annotated with it, so one look at the flags that
// were given tells the dialects apart; where both dialects have a flag of one name, it has one type
// and one meaning.
//
// Concurrency: a process runs one command; nothing here is for use from several goroutines.
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

// Command is what one dialect does under a name. Where both have the name, each has its own
// Command.
type Command struct {
	Path    string // its name, with a group's before it: "member list"
	Args    string // its arguments as a usage line shows them: "<key> [value]"
	Short   string // what it does, in one line
	Long    string // what else there is to know; may be empty
	Example string // command lines, with what they print
	Flags   func(*pflag.FlagSet)
	// Run does it. A Command without Run is a group: the place of others below it.
	Run func(*Session) error
}

// Dialects is what each dialect brings to the tree.
type Dialects struct {
	V2, V3               []Command
	V2Globals, V3Globals func(*pflag.FlagSet)
}

// Session is one run of a command: what it was given and where it writes.
type Session struct {
	Context context.Context
	// Args are the arguments after the command's name.
	Args []string
	// Dash is how many of them stood before a "--"; -1 when there was none.
	Dash   int
	Flags  *pflag.FlagSet
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
}

// Bool returns a flag's value. As with the other getters, a flag that the command does not have is
// a fault in the program.
func (s *Session) Bool(name string) bool { return value(s.Flags.GetBool(name)) }

// String returns a flag's value.
func (s *Session) String(name string) string { return value(s.Flags.GetString(name)) }

// Int64 returns a flag's value.
func (s *Session) Int64(name string) int64 { return value(s.Flags.GetInt64(name)) }

// Uint64 returns a flag's value.
func (s *Session) Uint64(name string) uint64 { return value(s.Flags.GetUint64(name)) }

func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
