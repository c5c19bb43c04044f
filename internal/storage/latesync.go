package storage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lateFiles is how many closed files wait for their sync. By the time that a file has its turn, the
// kernel has written most of it.
const lateFiles = 64

// LateSync is a file system for a store that is filled at one time and is useless until it is
// complete: a file is synced some time after it was closed, by its own descriptor, so that the
// store does not wait for the disk after each table. The store is durable when Finish has returned
// nil.
//
// It may be used by several goroutines.
type LateSync struct {
	FS
	mu     sync.Mutex // guards the fields below
	closed []vfs.File // in the order of their Close, not synced
	err    error      // of syncing and closing
}

// NewLateSync returns a file system over another one.
func NewLateSync(under FS) *LateSync {
	if under == nil {
		under = OSFS
	}
	return &LateSync{FS: under}
}

// Finish syncs the closed files. All files must have been closed.
func (l *LateSync) Finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shrink(0)
	return l.err
}

// close keeps a file for its sync.
func (l *LateSync) close(f vfs.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = append(l.closed, f)
	l.shrink(lateFiles)
	return l.err
}

// shrink syncs the oldest files until n are left. The caller holds mu.
func (l *LateSync) shrink(n int) {
	for ; len(l.closed) > n; l.closed = l.closed[1:] {
		if err := errors.Join(l.closed[0].Sync(), l.closed[0].Close()); err != nil {
			l.err = errors.Join(l.err, fmt.Errorf("sync: %w", err))
		}
	}
}

func (l *LateSync) late(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lateFile{f, l}, nil
}

// Create implements FS.
func (l *LateSync) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.late(l.FS.Create(name, c))
}

// OpenReadWrite implements FS.
func (l *LateSync) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return l.late(l.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir implements FS.
func (l *LateSync) OpenDir(name string) (vfs.File, error) { return l.late(l.FS.OpenDir(name)) }

// ReuseForWrite implements FS.
func (l *LateSync) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.late(l.FS.ReuseForWrite(from, to, c))
}

// Unwrap implements FS.
func (l *LateSync) Unwrap() FS { return l.FS }

// lateFile is an open file. SyncTo, with which the kernel begins to write, is the file's own.
type lateFile struct {
	vfs.File
	fs *LateSync
}

// Sync implements vfs.File.
func (lateFile) Sync() error { return nil }

// SyncData implements vfs.File.
func (lateFile) SyncData() error { return nil }

// Close implements vfs.File.
func (f lateFile) Close() error { return f.fs.close(f.File) }
