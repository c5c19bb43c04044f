// Package logging owns the format of cairn's log lines: a text form for humans, JSON for programs,
// and raft's logger on top of them.
//
// It also owns the outputs: files, which may be rotated, and systemd's journal. It does not own the
// content. Messages are constant and in lower case; variable parts are in attributes. Two
// attributes have a meaning: "component" is the part of the program that logs, and an attribute
// whose key is the message itself (message "data dir", key "data_dir") is printed as `data dir =
// default.etcd`.
//
// Concurrency: handlers may be used from any number of goroutines; each line is written with one
// Write.
package logging

import (
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// ComponentKey is the key of the attribute with the part of the program that logs.
const ComponentKey = "component"

// For returns a logger for one part of the program.
func For(log *slog.Logger, component string) *slog.Logger {
	return log.With(ComponentKey, component)
}

// priorityOf returns the journal's priority of a line in either form.
func priorityOf(line string) journal.Priority {
	head, _, _ := strings.Cut(line, " | ")
	switch {
	case strings.HasSuffix(head, " E"), strings.HasPrefix(line, `{"level":"error"`):
		return journal.PriErr
	case strings.HasSuffix(head, " W"), strings.HasPrefix(line, `{"level":"warn"`):
		return journal.PriWarning
	case strings.HasSuffix(head, " N"):
		return journal.PriNotice
	case strings.HasSuffix(head, " D"), strings.HasPrefix(line, `{"level":"debug"`):
		return journal.PriDebug
	}
	return journal.PriInfo
}

// LevelOff is above all levels.
const LevelOff = slog.Level(1 << 20)

// LevelNotice is etcd's level between info and warning: notable, but not wrong.
const LevelNotice = slog.LevelInfo + 2

// New returns a handler that writes lines of at least the level to w, in JSON or in the text form.
func New(w io.Writer, asJSON bool, level slog.Leveler) slog.Handler {
	if asJSON {
		return newJSONHandler(w, level)
	}
	return newTextHandler(w, level)
}

// fact reports whether an attribute's key is the message itself.
func fact(message, key string) bool {
	return strings.ReplaceAll(message, " ", "_") == key
}
