package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progress draws a bar on a terminal, and nothing elsewhere, so that logs stay clean. For another
// program it prints ticks instead.
type progress struct {
	out   io.Writer // nil: not a terminal
	title string
	ticks func(operations, failed uint64) // nil: no ticks
}

// measuring is the name of the phase that is measured.
const measuring = "measuring"

// tick is a line of JSON that -ticks prints.
type tick struct {
	Operations uint64 `json:"operations"` // completed since the start
	Failed     uint64 `json:"failed_requests"`
}

const tickInterval = 100 * time.Millisecond

// newTicks returns a progress that prints ticks. A request counts as many operations as it has
// keys.
func newTicks(out io.Writer, kind workloadKind, s settings) *progress {
	perRequest := 1
	if kind.keysPerRequest != nil {
		perRequest = kind.keysPerRequest(s)
	}
	encoder := json.NewEncoder(out)
	return &progress{ticks: func(succeeded, failed uint64) {
		// The end of the program that reads them ends this one as well.
		_ = encoder.Encode(tick{succeeded * uint64(perRequest), failed})
	}}
}

func newProgress(out io.Writer, title string) *progress {
	if f, ok := out.(*os.File); !ok || !isTerminal(f) {
		return &progress{}
	}
	return &progress{out: out, title: title}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// phase returns the function that a phase calls at its start; the function returned by that one
// ends the drawing.
func (b *progress) phase(name string, p phase) func(*recorder) func() {
	return func(rec *recorder) func() {
		switch {
		case b.ticks != nil && name == measuring:
			stop := repeat(tickInterval, func(time.Time) { b.ticks(rec.progress()) })
			return func() {
				stop()
				b.ticks(rec.progress())
			}
		case b.out != nil:
			return repeat(2*tickInterval, func(now time.Time) {
				succeeded, failed := rec.progress()
				fmt.Fprintf(b.out, "\r%s\x1b[K", barLine(b.title+" "+name, p, now.Sub(rec.start), succeeded, failed))
			})
		}
		return func() {}
	}
}

// repeat calls f in another goroutine at each interval, until the returned function is called.
func repeat(interval time.Duration, f func(now time.Time)) (stop func()) {
	quit, quitted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quitted)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case now := <-ticker.C:
				f(now)
			}
		}
	}()
	return func() {
		close(quit)
		<-quitted
	}
}

// done removes the bar, so that the report begins on a clean line.
func (b *progress) done() {
	if b.out != nil {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// barLine is the bar's text: the completed share of the total or of the time, whichever is larger.
func barLine(title string, p phase, elapsed time.Duration, succeeded, failed uint64) string {
	share := 0.0
	of := elapsed.Round(100 * time.Millisecond).String()
	if p.duration > 0 {
		share = elapsed.Seconds() / p.duration.Seconds()
		of += " of " + p.duration.String()
	}
	if p.total > 0 {
		share = max(share, float64(succeeded+failed)/float64(p.total))
		of = fmt.Sprintf("%d of %d, %s", succeeded+failed, p.total, of)
	}
	share = min(share, 1)
	const width = 24
	full := int(share * width)
	line := fmt.Sprintf("%s [%s%s] %3.0f%%  %s  %.0f/s", title, strings.Repeat("=", full), strings.Repeat(" ", width-full),
		share*100, of, float64(succeeded)/max(elapsed.Seconds(), 0.001))
	if failed > 0 {
		line += fmt.Sprintf("  %d errors", failed)
	}
	return line
}
