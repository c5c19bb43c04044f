package logging

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"go.etcd.io/raft/v3"
)

// Raft is a raft.Logger that writes to a log under the component "raft". These are the only lines
// whose messages are not constant, since raft formats them.
type Raft struct{ log *slog.Logger }

var _ raft.Logger = (*Raft)(nil)

// NewRaft returns the logger for raft.Config.
func NewRaft(log *slog.Logger) *Raft { return &Raft{For(log, "raft")} }

// say formats only lines that will be written: raft logs a lot at the debug level.
func (r *Raft) say(level slog.Level, message func() string) {
	if ctx := context.Background(); r.log.Enabled(ctx, level) {
		r.log.Log(ctx, level, strings.TrimRight(message(), "\n"))
	}
}

func (r *Raft) print(level slog.Level, v []any) {
	r.say(level, func() string { return fmt.Sprint(v...) })
}

func (r *Raft) printf(level slog.Level, format string, v []any) {
	r.say(level, func() string { return fmt.Sprintf(format, v...) })
}

// Debug implements raft.Logger.
func (r *Raft) Debug(v ...any) { r.print(slog.LevelDebug, v) }

// Debugf implements raft.Logger.
func (r *Raft) Debugf(format string, v ...any) { r.printf(slog.LevelDebug, format, v) }

// Info implements raft.Logger.
func (r *Raft) Info(v ...any) { r.print(slog.LevelInfo, v) }

// Infof implements raft.Logger. With asynchronous writes raft receives the same stable entries more
// than once, and logs each time that it ignores them; those lines get the level debug.
func (r *Raft) Infof(format string, v ...any) {
	level := slog.LevelInfo
	if strings.Contains(format, "missing from unstable log") {
		level = slog.LevelDebug
	}
	r.printf(level, format, v)
}

// Warning implements raft.Logger.
func (r *Raft) Warning(v ...any) { r.print(slog.LevelWarn, v) }

// Warningf implements raft.Logger.
func (r *Raft) Warningf(format string, v ...any) { r.printf(slog.LevelWarn, format, v) }

// Error implements raft.Logger.
func (r *Raft) Error(v ...any) { r.print(slog.LevelError, v) }

// Errorf implements raft.Logger.
func (r *Raft) Errorf(format string, v ...any) { r.printf(slog.LevelError, format, v) }

// Fatal implements raft.Logger. Like Panic it panics instead of ending the program: raft calls both
// where one of its invariants is broken, and a goroutine's stack shows more than an exit status.
func (r *Raft) Fatal(v ...any) { r.Panic(v...) }

// Fatalf implements raft.Logger; see Fatal.
func (r *Raft) Fatalf(format string, v ...any) { r.Panicf(format, v...) }

// Panic implements raft.Logger.
func (r *Raft) Panic(v ...any) {
	r.print(slog.LevelError, v)
	panic("raft: " + fmt.Sprint(v...))
}

// Panicf implements raft.Logger.
func (r *Raft) Panicf(format string, v ...any) {
	r.printf(slog.LevelError, format, v)
	panic("raft: " + fmt.Sprintf(format, v...))
}
