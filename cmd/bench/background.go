package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"cairn/cmd/bench/timeline"
	"cairn/test/process"
)

// background is a workload in a process of lower priority, beside which puts are measured. In this
// process, or of its priority, its own work would delay the puts that are measured; on a real
// network the clients have processors of their own.
type background struct {
	name     string
	process  *process.Process
	done     atomic.Uint64 // operations completed
	reported chan struct{} // closed once the report has arrived, or its output has ended
	report   *report       // once reported; nil: none has arrived
	failed   bytes.Buffer  // what it printed to stderr; once the process has ended
}

// startBackground starts `bench KIND` with the given flags against the server, and records what it
// completes in the timeline.
func startBackground(kind workloadKind, to *server, line *timeline.Timeline, nice int, flags ...string) (*background, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	args := append([]string{"-n", strconv.Itoa(nice), self, kind.name, "-endpoints", to.scheme() + "://" + to.client, "-ticks", "-o", "json"}, flags...)
	b := &background{name: kind.name, reported: make(chan struct{})}
	reader, writer := io.Pipe()
	cmd := exec.Command("nice", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), writer, &b.failed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if b.process, err = process.Start(cmd); err != nil {
		return nil, fmt.Errorf("start bench %s: %w", kind.name, err)
	}
	go func() {
		<-b.process.Exited()
		_ = writer.Close() // it always succeeds
	}()
	go b.read(reader, line)
	return b, nil
}

// read records the ticks until the report arrives, and then drops what follows.
func (b *background) read(from io.Reader, line *timeline.Timeline) {
	decoder := json.NewDecoder(from)
	for {
		var message struct {
			tick
			report
		}
		if decoder.Decode(&message) != nil {
			break
		}
		if message.Workload != "" {
			b.report = &message.report
			break
		}
		if previous := b.done.Swap(message.tick.Operations); message.tick.Operations > previous {
			line.Work(message.tick.Operations-previous, time.Now())
		}
	}
	close(b.reported)
	_, _ = io.Copy(io.Discard, from) // its end is the process's
}

// awaitFirst waits until the workload has completed an operation.
func (b *background) awaitFirst(ctx context.Context) error {
	for b.done.Load() == 0 {
		select {
		case <-b.reported:
			_, err := b.wait(ctx)
			return errors.Join(fmt.Errorf("bench %s: nothing was completed", b.name), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tickInterval):
		}
	}
	return nil
}

// wait returns the report once the workload has completed.
func (b *background) wait(ctx context.Context) (*report, error) {
	select {
	case <-b.reported:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.report == nil { // the process has ended, or is about to
		<-b.process.Exited()
		return nil, fmt.Errorf("bench %s: %w: %s", b.name, errors.New(b.process.State().String()), bytes.TrimSpace(b.failed.Bytes()))
	}
	if e := b.report.Errors; e.Total > 0 {
		return b.report, fmt.Errorf("bench %s: %d of %d requests ended in errors, such as: %s", b.name, e.Total, e.Total+b.report.Requests, e.Texts[0].Text)
	}
	return b.report, nil
}

// stop ends the workload, waits until its process has ended, and returns its report.
func (b *background) stop() (*report, error) {
	_ = b.process.Signal(os.Interrupt) // a process that cannot be signalled has ended
	r, err := b.wait(context.Background())
	<-b.process.Exited()
	return r, err
}

// kill ends the process at once.
func (b *background) kill() {
	_ = b.process.Signal(syscall.SIGKILL) // a process that cannot be signalled has ended
	<-b.process.Exited()
}
