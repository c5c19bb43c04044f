package logging

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rotation is the policy for replacing a log file that has grown.
type Rotation struct {
	BytesMax  int64         // of a file; 0 means 100 MiB
	Age       time.Duration // after which old files are removed; 0 keeps them
	Backups   int           // number of old files to keep; 0 means all
	LocalTime bool          // in the names of old files
	Compress  bool          // old files, by gzip
}

const (
	rotationBytes = 100 << 20
	// between the name and the extension, as in etcd's files
	backupTime = "2006-01-02T15-04-05.000"
)

// rotated is a log file that is renamed when it has grown, to NAME-TIME.EXT.
type rotated struct {
	Rotation
	path string
	now  func() time.Time

	mu       sync.Mutex // guards the fields below
	file     *os.File
	size     int64
	sweeping bool      // a goroutine compresses and removes old files
	again    bool      // and has to look for them once more
	rotated  time.Time // the last time
	sweeper  sync.WaitGroup
}

func openRotated(path string, r Rotation) (*rotated, error) {
	if r.BytesMax <= 0 {
		r.BytesMax = rotationBytes
	}
	f := &rotated{Rotation: r, path: path, now: time.Now}
	if err := f.open(); err != nil {
		return nil, err
	}
	f.tidyLocked() // nothing else has f yet
	return f, nil
}

func (f *rotated) open() error {
	file, err := openToAppend(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write implements io.Writer. A line is never split between two files.
func (f *rotated) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var failed error
	if f.size > 0 && f.size+int64(len(line)) > f.BytesMax {
		failed = f.rotate() // the line is then written to the old file
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return n, errors.Join(failed, err)
}

// rotate renames the file and opens another. A missing file was moved or removed by another
// program, or renamed by a rotation that could not open the next one.
func (f *rotated) rotate() error {
	old := f.file
	to := f.backupName()
	if err := os.Rename(f.path, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rotate log file: %w", err)
	}
	if err := f.open(); err != nil {
		return fmt.Errorf("rotate log file: %w", err)
	}
	f.tidyLocked()
	return old.Close()
}

func (f *rotated) reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.file
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

func (f *rotated) backupName() string {
	now := f.now().UTC()
	if f.LocalTime {
		now = now.Local()
	}
	ext := filepath.Ext(f.path)
	base := strings.TrimSuffix(f.path, ext)
	name := base + "-" + now.Format(backupTime) + ext
	for n := 1; ; n++ { // two rotations within a millisecond
		_, err := os.Lstat(name)
		_, errPacked := os.Lstat(name + ".gz")
		if errors.Is(err, os.ErrNotExist) && errors.Is(errPacked, os.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%s.%d%s", base, now.Format(backupTime), n, ext)
	}
}

// backups lists old files, the oldest first.
func (f *rotated) backups() []string {
	ext := filepath.Ext(f.path)
	base := strings.TrimSuffix(filepath.Base(f.path), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".gz")
		stamp, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), base)
		if !ok || len(stamp) < len(backupTime) {
			continue
		}
		if _, err := time.Parse(backupTime, stamp[:len(backupTime)]); err == nil {
			names = append(names, filepath.Join(filepath.Dir(f.path), e.Name()))
		}
	}
	slices.Sort(names)
	return names
}

// tidyLocked compresses and removes old files, in a separate goroutine: lines do not wait for it.
func (f *rotated) tidyLocked() {
	if f.Backups == 0 && f.Age == 0 && !f.Compress {
		return
	}
	f.again, f.rotated = true, f.now()
	if f.sweeping {
		return
	}
	f.sweeping = true
	f.sweeper.Go(func() {
		for {
			at, again := f.sweepsAgain()
			if !again {
				return
			}
			f.sweep(at)
		}
	})
}

// sweepsAgain reports whether there was a rotation since the sweep began, and when.
func (f *rotated) sweepsAgain() (at time.Time, again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweeping, f.again = f.again, false
	return f.rotated, f.sweeping
}

func (f *rotated) sweep(now time.Time) {
	old := f.backups()
	for i, name := range old {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		tooMany := f.Backups > 0 && i < len(old)-f.Backups
		tooOld := f.Age > 0 && now.Sub(info.ModTime()) > f.Age
		switch {
		case tooMany || tooOld:
			_ = os.Remove(name)
		case f.Compress && !strings.HasSuffix(name, ".gz"):
			_ = compress(name)
		}
	}
}

func compress(name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name+".gz", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(name+".gz"))
	}
	return os.Remove(name)
}

// Close implements io.Closer.
func (f *rotated) Close() error {
	f.mu.Lock()
	err := f.file.Close()
	f.mu.Unlock()
	f.sweeper.Wait()
	return err
}
