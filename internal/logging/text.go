package logging

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// textHandler writes lines like
//
//	2017-04-10 11:46:44.772465 I | etcd: listening for clients url=http://localhost:2379
//	2017-04-10 11:46:44.773583 I | member: data dir = default.etcd
//
// date and time to the microsecond, in UTC as in JSON, so that lines of several members can be
// compared; the level's letter; the component; the message; attributes.
type textHandler struct {
	w     io.Writer
	mu    *sync.Mutex // guards w; shared by all handlers derived from one another
	level slog.Leveler

	component string
	prefix    string // of the open groups, each with a dot after it
	attrs     string // already formatted, each with a blank before it
}

func newTextHandler(w io.Writer, level slog.Leveler) *textHandler {
	return &textHandler{w: w, mu: new(sync.Mutex), level: level}
}

// Enabled implements slog.Handler.
func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	component, tail, value, stated := h.component, []byte(h.attrs), "", false
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case h.prefix == "" && a.Key == ComponentKey:
			component = a.Value.String()
		case h.prefix == "" && !stated && fact(r.Message, a.Key):
			value, stated = a.Value.Resolve().String(), true
		default:
			tail = appendAttr(tail, h.prefix, a)
		}
		return true
	})

	line := make([]byte, 0, 128+len(tail))
	if !r.Time.IsZero() {
		line = r.Time.UTC().AppendFormat(line, "2006-01-02 15:04:05.000000 ")
	}
	line = append(line, levelLetter(r.Level), ' ', '|', ' ')
	if component != "" {
		line = append(line, component...)
		line = append(line, ": "...)
	}
	line = appendPrintable(line, r.Message)
	if stated {
		line = append(line, " = "...)
		line = appendPrintable(line, value)
	}
	line = append(line, tail...)
	line = append(line, '\n')

	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(line)
	return err
}

// WithAttrs implements slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	formatted := []byte(h.attrs)
	for _, a := range attrs {
		if h.prefix == "" && a.Key == ComponentKey {
			with.component = a.Value.String()
			continue
		}
		formatted = appendAttr(formatted, h.prefix, a)
	}
	with.attrs = string(formatted)
	return &with
}

// WithGroup implements slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.prefix += name + "."
	return &with
}

func levelLetter(level slog.Level) byte {
	switch {
	case level >= slog.LevelError:
		return 'E'
	case level >= slog.LevelWarn:
		return 'W'
	case level >= LevelNotice:
		return 'N'
	case level >= slog.LevelInfo:
		return 'I'
	}
	return 'D'
}

func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	value := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return b
	}
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, below := range value.Group() {
			b = appendAttr(b, prefix, below)
		}
		return b
	}
	text := value.String()
	if value.Kind() == slog.KindTime {
		text = value.Time().UTC().Format(time.RFC3339Nano)
	}
	b = append(b, ' ')
	b = append(b, prefix...)
	b = append(b, a.Key...)
	b = append(b, '=')
	if needsQuotes(text) {
		return strconv.AppendQuote(b, text)
	}
	return append(b, text...)
}

// needsQuotes reports whether a value could not be distinguished from the text around it, or could
// forge a line.
func needsQuotes(text string) bool {
	return text == "" || strings.ContainsAny(text, " =\"") || !printable(text)
}

func printable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// appendPrintable appends free text, quoted if it could forge a line.
func appendPrintable(b []byte, text string) []byte {
	if printable(text) {
		return append(b, text...)
	}
	return strconv.AppendQuote(b, text)
}
