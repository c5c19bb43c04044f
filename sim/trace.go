package sim

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"runtime/debug"
	"slices"
	"strings"
)

// traceLines is the number of last events that are kept per member.
const traceLines = 40

// trace has the last events of each member, and a checksum of all events.
type trace struct {
	sum   hash.Hash
	lines map[string][]string
}

func newTrace() *trace { return &trace{sha256.New(), map[string][]string{}} }

// note records an event of a member, or of the simulator for "".
func (w *world) note(of, format string, args ...any) {
	line := fmt.Sprintf("%12.6f  %s", float64(w.now)/1e9, fmt.Sprintf(format, args...))
	fmt.Fprintln(w.trace.sum, of, line)
	lines := w.trace.lines[of]
	if len(lines) >= 2*traceLines {
		lines = append(lines[:0], lines[len(lines)-traceLines:]...)
	}
	w.trace.lines[of] = append(lines, line)
}

func (t *trace) String() string {
	var b strings.Builder
	names := make([]string, 0, len(t.lines))
	for name := range t.lines {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		title := name
		if name == "" {
			title = "world"
		}
		lines := t.lines[name]
		fmt.Fprintf(&b, "%s:\n  %s\n", title, strings.Join(lines[max(0, len(lines)-traceLines):], "\n  "))
	}
	return b.String()
}

func stack() string { return string(debug.Stack()) }
