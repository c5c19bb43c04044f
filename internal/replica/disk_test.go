package replica

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"cairn/internal/storage"
)

// watchedFS is an in-memory disk that calls onSync right before and right after every sync: the
// most revealing moments for a power failure.
type watchedFS struct {
	storage.CrashableFS
	onSync func()
}

func (fs *watchedFS) watch(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &watchedFile{File: f, fs: fs}, nil
}

func (fs *watchedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.watch(fs.CrashableFS.Create(name, c))
}

func (fs *watchedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return fs.watch(fs.CrashableFS.OpenReadWrite(name, c, o...))
}

func (fs *watchedFS) OpenDir(name string) (vfs.File, error) {
	return fs.watch(fs.CrashableFS.OpenDir(name))
}

func (fs *watchedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.watch(fs.CrashableFS.ReuseForWrite(old, name, c))
}

type watchedFile struct {
	vfs.File
	fs *watchedFS
}

func (f *watchedFile) Sync() error {
	f.fs.onSync()
	defer f.fs.onSync()
	return f.File.Sync()
}

func (f *watchedFile) SyncData() error {
	f.fs.onSync()
	defer f.fs.onSync()
	return f.File.SyncData()
}

func (f *watchedFile) SyncTo(length int64) (bool, error) {
	f.fs.onSync()
	defer f.fs.onSync()
	return f.File.SyncTo(length)
}
