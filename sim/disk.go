package sim

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"cairn/internal/storage"
)

// errDisk is the error of a broken or full disk.
var errDisk = errors.New("no space left on device")

// cut is the part of the unsynced data that survives a power failure.
type cut int

const (
	nothing cut = iota // only synced data
	all                // everything written
	torn               // a part of the log's last write
	synced             // the sync was done, but its caller does not know
)

func (c cut) String() string { return []string{"nothing", "all", "torn", "synced"}[c] }

// disk is the disk of one member. The power can be cut at a sync of a file of a given kind, which
// is where it matters: then image has the surviving data.
type disk struct {
	storage.CrashableFS
	rng *rand.Rand // for the torn part

	mu    sync.Mutex // guards the fields below: pebble's goroutines sync, too
	armed func(name string) bool
	how   cut
	image *storage.CrashableFS
	full  bool // writes to the log fail
}

func newDisk(fs storage.CrashableFS, rng *rand.Rand) *disk { return &disk{CrashableFS: fs, rng: rng} }

// logFile reports whether a file belongs to the log store's journal.
func logFile(name string) bool {
	return strings.HasPrefix(name, "log/") && strings.HasSuffix(name, ".journal")
}

// arm cuts the power at the next sync of a file.
func (d *disk) arm(how cut, file func(name string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed, d.how, d.image = file, how, nil
}

// disarm returns the disk after the cut, or nil when it has not happened.
func (d *disk) disarm() *storage.CrashableFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = nil
	image := d.image
	d.image = nil
	return image
}

// crash returns the disk after a power failure now.
func (d *disk) crash(how cut, name string) storage.CrashableFS {
	percent := 0
	if how == all {
		percent = 100
	}
	// The number of draws depends on the number of files, which pebble's goroutines create and
	// remove at any time: they have a generator of their own. For 0 and 100 % they decide nothing.
	image := d.Crash(percent, rand.New(rand.NewPCG(1, 1)))
	if how == torn {
		if err := d.tear(image, name); err != nil {
			panic(err) // an in-memory disk does not fail
		}
	}
	return image
}

// tear adds a part of a file's unsynced data to an image.
func (d *disk) tear(image storage.CrashableFS, name string) error {
	old, err := read(image, name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	now, err := read(d.CrashableFS, name)
	if err != nil {
		return err
	}
	same := 0
	for same < len(old) && same < len(now) && old[same] == now[same] {
		same++
	}
	now = bytes.TrimRight(now, "\x00")
	if same >= len(now) {
		return nil
	}
	part := now[:same+d.rng.IntN(len(now)-same)]
	f, err := image.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if len(part) < len(old) {
		part = append(bytes.Clone(part), old[len(part):]...)
	}
	if _, err := f.Write(part); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(image, "log")
}

func syncDir(fs vfs.FS, name string) error {
	dir, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func read(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// sync is called before a file is synced, or after.
func (d *disk) sync(name string, after bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.armed == nil || d.image != nil || after != (d.how == synced) || !d.armed(name) {
		return
	}
	image := d.crash(d.how, name)
	d.image = &image
}

func (d *disk) watch(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, name: name}, nil
}

func (d *disk) broken(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full && logFile(name)
}

// Create implements vfs.FS.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.CrashableFS.Create(name, c)
	return d.watch(name, f, err)
}

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.CrashableFS.OpenReadWrite(name, c, o...)
	return d.watch(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.CrashableFS.ReuseForWrite(old, name, c)
	return d.watch(name, f, err)
}

// file is a file of a disk.
type file struct {
	vfs.File
	d    *disk
	name string
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	if f.d.broken(f.name) {
		return 0, errDisk
	}
	return f.File.Write(p)
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	return f.synced(f.File.Sync)
}

// SyncData implements vfs.File.
func (f *file) SyncData() error {
	return f.synced(f.File.SyncData)
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (full bool, err error) {
	err = f.synced(func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *file) synced(sync func() error) error {
	if f.d.broken(f.name) {
		return errDisk
	}
	f.d.sync(f.name, false)
	err := sync()
	f.d.sync(f.name, true)
	return err
}
