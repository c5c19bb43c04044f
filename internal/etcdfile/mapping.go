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
