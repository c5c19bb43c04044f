package logging

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// jsonHandler writes lines with the fields of etcd's lines, in their order: level, ts, caller, msg,
// and then the attributes. Programs that collect etcd's logs parse them. slog's own handler writes
// the attributes; its own fields, whose order cannot be chosen, are disabled.
type jsonHandler struct {
	attrs slog.Handler
	to    *lineWriter // shared by all handlers derived from one another
}

// lineWriter prepends the first fields of a line to its attributes.
type lineWriter struct {
	mu   sync.Mutex // guards the fields below
	w    io.Writer
	head []byte
}

func newJSONHandler(w io.Writer, level slog.Leveler) slog.Handler {
	to := &lineWriter{w: w}
	return jsonHandler{slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level, ReplaceAttr: onlyAttrs}), to}
}

// Write receives the attributes as an object. Only Handle calls it, under mu.
func (l *lineWriter) Write(attrs []byte) (int, error) {
	line := l.head
	if len(attrs) > len("{}\n") {
		line = append(line, ',')
	}
	if _, err := l.w.Write(append(line, attrs[1:]...)); err != nil {
		return 0, err
	}
	return len(attrs), nil
}

// Enabled implements slog.Handler.
func (h jsonHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attrs.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	h.to.mu.Lock()
	defer h.to.mu.Unlock()
	head := append(h.to.head[:0], `{"level":"`...)
	head = append(head, levelName(r.Level)...)
	head = append(head, '"')
	if !r.Time.IsZero() {
		head = append(head, `,"ts":"`...)
		head = r.Time.UTC().AppendFormat(head, "2006-01-02T15:04:05.000000Z07:00")
		head = append(head, '"')
	}
	if caller := callerOf(r.PC); caller != "" {
		head = appendJSON(append(head, `,"caller":`...), caller)
	}
	h.to.head = appendJSON(append(head, `,"msg":`...), r.Message)
	r.Time = time.Time{}
	return h.attrs.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return jsonHandler{h.attrs.WithAttrs(attrs), h.to}
}

// WithGroup implements slog.Handler.
func (h jsonHandler) WithGroup(name string) slog.Handler {
	return jsonHandler{h.attrs.WithGroup(name), h.to}
}

// appendJSON appends a text as JSON. Invalid UTF-8 is replaced.
func appendJSON(to []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil { // cannot happen with a string
		return append(to, `""`...)
	}
	return append(to, quoted...)
}

// callerOf formats a source position as etcd does: the file with its directory, and the line.
func callerOf(pc uintptr) string {
	if pc == 0 {
		return ""
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	if frame.File == "" {
		return ""
	}
	dir, file := filepath.Split(frame.File)
	return filepath.Base(dir) + "/" + file + ":" + strconv.Itoa(frame.Line)
}

// onlyAttrs removes the fields that Handle writes itself, formats durations as texts, 100ms, where
// slog would write nanoseconds, and times in UTC, as ts.
func onlyAttrs(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		return slog.String(a.Key, a.Value.String())
	case slog.KindTime:
		return slog.Time(a.Key, a.Value.Time().UTC())
	}
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
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
