// Package logging owns how cairn's log lines look: a text form for people, JSON for programs, and
// raft's logger on top of the same.
//
// It owns where lines go, too: files, which may be rotated, and systemd's journal. It does not own
// what is logged. Messages
// are constant and in lower case; what varies is in attributes. Two attributes mean something here:
// "component" names the part of the program that speaks, and an attribute whose key is the message
// itself (message "data dir", key "data_dir") is what the message states, so that it reads `data
// dir = default.etcd`.
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

// ComponentKey is the key of the attribute that names the part of the program that speaks.
const ComponentKey = "component"

// For is a logger for one part of the program.
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

// LevelOff lets no line through.
const LevelOff = slog.Level(1 << 20)

// LevelNotice is etcd's level between info and warning: worth a look, and nothing is wrong.
const LevelNotice = slog.LevelInfo + 2

// New is a handler that writes lines of at least the level to w, in JSON or in the text form.
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
