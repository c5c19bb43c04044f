package storage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// lateFiles is how many closed files wait before their sync begins: the kernel writes them
	// meanwhile.
	lateFiles = 4
	// lateSyncsMax is how many files may wait for a sync that has begun.
	lateSyncsMax = 64
)

// LateSync is a file system for a store that is filled at one time and is useless until it is
// complete: a file is synced some time after it was closed, by its own descriptor and on a
// goroutine of its own, so that the store does not wait for the disk after each table. The store is
// durable when Finish has returned nil.
//
// It may be used by several goroutines.
type LateSync struct {
	FS
	syncs sync.WaitGroup
	slots chan struct{} // of files whose sync has begun
	disk  sync.Mutex    // held by the sync in progress; guards err
	err   error         // of syncing and closing

	mu     sync.Mutex // guards closed
	closed []vfs.File // in the order of their Close, not synced
}

// NewLateSync returns a file system over another one.
func NewLateSync(under FS) *LateSync {
	if under == nil {
		under = OSFS
	}
	return &LateSync{FS: under, slots: make(chan struct{}, lateSyncsMax)}
}

// Finish syncs the closed files. All files must have been closed.
func (l *LateSync) Finish() error {
	l.shrink(0)
	l.syncs.Wait()
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.err
}

// close keeps a file for its sync. An error of an earlier one is returned by Finish.
func (l *LateSync) close(f vfs.File) {
	l.mu.Lock()
	l.closed = append(l.closed, f)
	l.mu.Unlock()
	l.shrink(lateFiles)
}

// shrink starts the syncs of the oldest files, until n files are left.
func (l *LateSync) shrink(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; len(l.closed) > n; l.closed = l.closed[1:] {
		f := l.closed[0]
		l.slots <- struct{}{}
		l.syncs.Go(func() {
			l.disk.Lock()
			defer l.disk.Unlock()
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				l.err = errors.Join(l.err, fmt.Errorf("sync: %w", err))
			}
			<-l.slots
		})
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
func (f lateFile) Close() error {
	f.fs.close(f.File)
	return nil
}
