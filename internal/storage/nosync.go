package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// WithoutSync returns a file system whose files are never synced (--unsafe-no-fsync): written data
// is lost when the machine fails, and kept when only the process does.
func WithoutSync(fs FS) FS { return noSyncFS{fs} }

type noSyncFS struct{ FS }

func unsynced(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

// Create implements FS.
func (fs noSyncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return unsynced(fs.FS.Create(name, c))
}

// OpenReadWrite implements FS.
func (fs noSyncFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return unsynced(fs.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir implements FS.
func (fs noSyncFS) OpenDir(name string) (vfs.File, error) { return unsynced(fs.FS.OpenDir(name)) }

// ReuseForWrite implements FS.
func (fs noSyncFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return unsynced(fs.FS.ReuseForWrite(from, to, c))
}

// Unwrap implements FS.
func (fs noSyncFS) Unwrap() FS { return fs.FS }

type noSyncFile struct{ vfs.File }

// Sync implements vfs.File.
func (noSyncFile) Sync() error { return nil }

// SyncData implements vfs.File.
func (noSyncFile) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (noSyncFile) SyncTo(int64) (fullSync bool, err error) { return true, nil }
