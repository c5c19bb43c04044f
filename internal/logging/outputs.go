package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/journal"
)

// Journal is the name of the output systemd's journal.
const Journal = "systemd/journal"

// Outputs are the destinations of log lines.
type Outputs struct {
	Names    []string  // "stderr", "stdout", Journal, or files
	Rotation *Rotation // of files; nil means no rotation
}

// Open opens the outputs. Lines are appended to files. The returned closer closes them. Log files
// have mode 0600, since keys may appear in them.
func Open(o Outputs, stdout, stderr io.Writer) (io.Writer, io.Closer, error) {
	var writers []io.Writer
	var files closers
	for _, name := range o.Names {
		switch name {
		case "stderr":
			writers = append(writers, stderr)
		case "stdout":
			writers = append(writers, stdout)
		case Journal:
			if !journal.Enabled() {
				return nil, nil, errors.Join(fmt.Errorf("%s: there is no journal here: want stderr, stdout or a file", Journal), files.Close())
			}
			writers = append(writers, toJournal{journal.Send})
		default:
			f, err := openFile(filepath.Clean(name), o.Rotation)
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

func openFile(path string, r *Rotation) (io.WriteCloser, error) {
	if r != nil {
		return openRotated(path, *r)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

type closers []io.Closer

// Close closes all outputs, even after an error.
func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// every writes to all outputs, where io.MultiWriter would stop at the first error: a full disk must
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

// toJournal writes each line as an entry of systemd's journal.
type toJournal struct {
	send func(message string, priority journal.Priority, fields map[string]string) error
}

func (j toJournal) Write(line []byte) (int, error) {
	message := string(line)
	if n := len(message); n > 0 && message[n-1] == '\n' {
		message = message[:n-1]
	}
	if err := j.send(message, priorityOf(message), map[string]string{"SYSLOG_IDENTIFIER": "etcd"}); err != nil {
		return 0, fmt.Errorf("write to systemd's journal: %w", err)
	}
	return len(line), nil
}
