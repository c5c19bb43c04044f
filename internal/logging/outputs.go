package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// Journal is the name of the output systemd's journal.
const Journal = "systemd/journal"

// Outputs are the destinations of log lines.
type Outputs struct {
	Names    []string  // "stderr", "stdout", Journal, or files
	Rotation *Rotation // of files; nil means no rotation
}

// Open opens the outputs. Lines are appended to files. Log files have mode 0600, since keys may
// appear in them.
func Open(o Outputs, stdout, stderr io.Writer) (io.Writer, *Files, error) {
	var writers []io.Writer
	files := new(Files)
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
			files.all, writers = append(files.all, f), append(writers, f)
		}
	}
	if len(writers) == 1 {
		return writers[0], files, nil
	}
	return every(writers), files, nil
}

// file is a log file.
type file interface {
	io.WriteCloser
	// reopen opens the file at the path again. After an error, the old file stays in use.
	reopen() error
}

func openFile(path string, r *Rotation) (file, error) {
	if r != nil {
		return openRotated(path, *r)
	}
	return openAppended(path)
}

// Files are the log files of Open.
type Files struct{ all []file }

// Reopen opens all files again: another program, such as logrotate, may have moved them.
func (fs *Files) Reopen() error {
	var errs []error
	for _, f := range fs.all {
		errs = append(errs, f.reopen())
	}
	return errors.Join(errs...)
}

// Close closes all files, even after an error.
func (fs *Files) Close() error {
	var errs []error
	for _, f := range fs.all {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func openToAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// appended is a log file that is not rotated here.
type appended struct {
	path string

	mu sync.Mutex // guards f
	f  *os.File
}

func openAppended(path string) (*appended, error) {
	f, err := openToAppend(path)
	if err != nil {
		return nil, err
	}
	return &appended{path: path, f: f}, nil
}

func (a *appended) reopen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := openToAppend(a.path)
	if err != nil {
		return err
	}
	old := a.f
	a.f = f
	return old.Close()
}

// Write implements io.Writer.
func (a *appended) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.f.Write(line)
}

// Close implements io.Closer.
func (a *appended) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.f.Close()
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
	message := strings.TrimSuffix(string(line), "\n")
	priority := priorityOf(message)
	// The journal shows the time itself; the level is the priority. Lines of JSON stay complete.
	if _, rest, ok := strings.Cut(message, " | "); ok && !strings.HasPrefix(message, "{") {
		message = rest
	}
	if err := j.send(message, priority, map[string]string{"SYSLOG_IDENTIFIER": "etcd"}); err != nil {
		return 0, fmt.Errorf("write to systemd's journal: %w", err)
	}
	return len(line), nil
}
