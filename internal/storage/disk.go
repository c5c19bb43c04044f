package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system of one store, and records whether it has failed in the background: pebble
// retries a failed flush at once and forever, and all waiters for the flush would wait forever,
// too.
type disk struct {
	vfs.FS
	dir    string      // of the store
	report func(error) // fails the store
	once   sync.Once
	failed chan struct{} // closed at the first failure
	err    error         // the first failure; read after failed is closed
	size   size
}

func newDisk(under FS) *disk { return &disk{FS: under, failed: make(chan struct{})} }

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// fail records the first failure of the disk, and reports whether it was the first.
func (d *disk) fail(err error) (first bool) {
	d.once.Do(func() {
		d.err, first = err, true
		close(d.failed)
	})
	return first
}

// failure returns the first failure, or nil.
func (d *disk) failure() error {
	select {
	case <-d.failed:
		return d.err
	default:
		return nil
	}
}

// retryPause is how long pebble waits between two attempts to flush to a disk that has failed. The
// store can no longer be used: the pause only saves CPU.
const retryPause = 250 * time.Millisecond

// markerPrefix is the prefix of pebble's marker files, whose names identify the current manifest
// and format.
const markerPrefix = "marker."

// Create implements vfs.FS. A marker is created after the file that it names is durable in the
// directory: the disk may keep a later entry of a directory and lose an earlier one.
func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if d.failure() != nil {
		time.Sleep(retryPause)
	}
	if err := d.syncBeforeMarker(name); err != nil {
		return nil, err
	}
	return d.FS.Create(name, category)
}

// Remove implements vfs.FS. An old marker is removed after the new one is durable.
func (d *disk) Remove(name string) error {
	if err := d.syncBeforeMarker(name); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *disk) syncBeforeMarker(name string) error {
	if !strings.HasPrefix(d.PathBase(name), markerPrefix) {
		return nil
	}
	return syncDir(d.FS, d.PathDir(name))
}

// fatal is the value with which quiet.Fatalf panics.
type fatal string

func (f fatal) Error() string { return string(f) }

// fatalError converts the panic of a broken manifest to an error, so that a member whose disk is
// broken stops properly. The functions that defer it are listed in recovering.
func fatalError(err *error, action string) {
	switch r := recover().(type) { //nolint:revive // this is what its callers defer
	case nil:
	case fatal:
		*err = fmt.Errorf("%s: %w", action, r)
	default:
		panic(r)
	}
}

// pebblePanic converts a panic of pebble.Open about the disk to an error.
func pebblePanic(err *error) {
	r := recover() //nolint:revive // this is what its callers defer
	if r == nil {
		return
	}
	cause, ok := r.(error)
	if bug := runtime.Error(nil); !ok || errors.As(cause, &bug) {
		panic(r)
	}
	*err = cause
}

// recovering reports whether a function of this package that recovers Fatalf's panic is on the
// stack of the calling goroutine.
func recovering() bool {
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		switch strings.TrimPrefix(filepath.Ext(f.Function), ".") {
		case "Commit", "Replace", "recoveringOpen":
			if strings.Contains(f.Function, "internal/storage.") {
				return true
			}
		}
		if !more {
			return false
		}
	}
}
