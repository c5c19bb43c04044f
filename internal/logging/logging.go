// Package logging owns how cairn's log lines look: a text form for people, JSON for programs, and
// raft's logger on top of the same.
//
// It does not own what is logged, nor the files that lines go to (Open only opens them). Messages
// are constant and in lower case; what varies is in attributes. Two attributes mean something here:
// "component" names the part of the program that speaks, and an attribute whose key is the message
// itself (message "data dir", key "data_dir") is what the message states, so that it reads `data
// dir = default.etcd`.
//
// Concurrency: handlers may be used from any number of goroutines; each line is written with one
// Write.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// ComponentKey is the key of the attribute that names the part of the program that speaks.
const ComponentKey = "component"

// For is a logger for one part of the program.
func For(log *slog.Logger, component string) *slog.Logger {
	return log.With(ComponentKey, component)
}

// LevelOff lets no line through.
const LevelOff = slog.Level(1 << 20)

// LevelNotice is etcd's level between info and warning: worth a look, and nothing is wrong.
const LevelNotice = slog.LevelInfo + 2

// New is a handler that writes lines of at least the level to w, in JSON or in the text form.
func New(w io.Writer, asJSON bool, level slog.Leveler) slog.Handler {
	if asJSON {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: etcdKeys})
	}
	return newTextHandler(w, level)
}

// etcdKeys gives the fields that every line has the names and forms that etcd's JSON lines have, so
// that what collects the one's logs can collect the other's.
func etcdKeys(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.String()) // 100ms, where slog would write nanoseconds
	}
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("ts", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000000Z07:00"))
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String("level", levelName(level))
		}
	}
	return a
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warn"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// Open opens the outputs "stderr", "stdout" and files, to which lines are appended. The returned
// closer closes the files. Files of the log are 0600: keys may show up in them.
func Open(outputs []string, stdout, stderr io.Writer) (io.Writer, io.Closer, error) {
	var writers []io.Writer
	var files closers
	for _, o := range outputs {
		switch o {
		case "stderr":
			writers = append(writers, stderr)
		case "stdout":
			writers = append(writers, stdout)
		default:
			f, err := os.OpenFile(filepath.Clean(o), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			if err != nil {
				return nil, nil, errors.Join(fmt.Errorf("open log file: %w", err), files.Close())
			}
			files, writers = append(files, f), append(writers, f)
		}
	}
	if len(writers) == 1 {
		return writers[0], files, nil
	}
	return every(writers), files, nil
}

type closers []io.Closer

// Close closes all, also after one that fails.
func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// every writes to all, where io.MultiWriter would stop at the first that fails: a full disk must
// not silence the standard error.
type every []io.Writer

func (ws every) Write(p []byte) (int, error) {
	var errs []error
	for _, w := range ws {
		if _, err := w.Write(p); err != nil {
			errs = append(errs, err)
		}
	}
	return len(p), errors.Join(errs...)
}

// fact reports whether an attribute's key is the message itself.
func fact(message, key string) bool {
	return strings.ReplaceAll(message, " ", "_") == key
}
