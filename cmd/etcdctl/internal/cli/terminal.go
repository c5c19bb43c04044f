package cli

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"cairn/internal/texttable"
)

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Color reports whether output may be coloured: it goes to a terminal, and NO_COLOR is not set
// (no-color.org).
func (s *Session) Color() bool {
	return IsTerminal(s.Out) && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb"
}

// Confirm asks a yes-or-no question on a terminal. It returns true without asking if standard input
// or standard error is not a terminal.
func (s *Session) Confirm(question string) bool {
	if !IsTerminal(s.In) || !IsTerminal(s.Err) {
		return true
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	line, _ := readLine(s.In)
	return strings.EqualFold(line, "y") || strings.EqualFold(line, "yes")
}

// progressInterval is the time between two updates of a progress line.
const progressInterval = 200 * time.Millisecond

// Progress is a line on a terminal that shows how far a command is. It shows nothing if standard
// error is not a terminal.
type Progress struct {
	done  atomic.Int64
	stop  chan struct{}
	ended chan struct{}
}

// StartProgress shows a progress line until Stop. line returns the text for the amount done so far
// and the time since the start.
func (s *Session) StartProgress(line func(done int64, elapsed time.Duration) string) *Progress {
	p := &Progress{stop: make(chan struct{}), ended: make(chan struct{})}
	if !IsTerminal(s.Err) {
		close(p.ended)
		return p
	}
	began := time.Now()
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(s.Err, "\r\033[K%s", oneLine(s.Err, line(p.done.Load(), time.Since(began))))
			case <-p.stop:
				fmt.Fprint(s.Err, "\r\033[K")
				return
			}
		}
	}()
	return p
}

// oneLine cuts a text to a line of a terminal: what wraps could not be erased.
func oneLine(stream any, text string) string {
	f, ok := stream.(*os.File)
	if !ok {
		return text
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		return text
	}
	return texttable.Cut(text, columns-1)
}

// Add adds to the amount done.
func (p *Progress) Add(n int64) { p.done.Add(n) }

// Stop removes the line.
func (p *Progress) Stop() {
	close(p.stop)
	<-p.ended
}

// Write adds the number of bytes written to it, so that a Progress can follow an io.Copy.
func (p *Progress) Write(b []byte) (int, error) {
	p.Add(int64(len(b)))
	return len(b), nil
}

// Rate returns "12 MB, 3.4 MB/s" for a progress line.
func Rate(done int64, elapsed time.Duration) string {
	return fmt.Sprintf("%s, %s/s", FormatBytes(done), FormatBytes(int64(float64(done)/max(elapsed.Seconds(), 0.001))))
}
