package etcdfile

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// residentBytes is how much of the mapped file may be resident: the kernel counts those pages as
// memory of the process.
const residentBytes = 16 << 20

// mapping returns bbolt's mapping of a file, in whole pages of memory.
func mapping(db *bolt.DB, size int64) []byte {
	info := db.Info()
	n := int(size) &^ (os.Getpagesize() - 1)
	if info == nil || info.Data == 0 || n == 0 {
		return nil
	}
	// bbolt has the address as a number. The mapping stays where it is until the database is
	// closed.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&info.Data)), n)
}

// release counts bytes that were visited, and from time to time tells the kernel that the pages of
// the mapping are not needed. Pages that are needed again are read from the kernel's cache.
func (f *File) release(visited int) error {
	f.visited += int64(visited)
	if f.read += int64(visited); f.read < residentBytes || len(f.mapped) == 0 {
		return nil
	}
	f.read = 0
	if err := syscall.Madvise(f.mapped, syscall.MADV_DONTNEED); err != nil {
		return fmt.Errorf("release the pages of the mapped file: %w", err)
	}
	return nil
}

// faultBytes is how much of a file a page fault maps: the page and its neighbours.
const faultBytes = 64 << 10

// releaseRandom is release for a record that is read out of order.
func (f *File) releaseRandom(record []byte) error {
	window := uintptr(unsafe.Pointer(unsafe.SliceData(record))) / faultBytes
	if window == f.window {
		return nil
	}
	f.window = window
	visited := f.visited
	err := f.release(max(len(record), faultBytes))
	f.visited = visited // these bytes are visited in order, too
	return err
}
