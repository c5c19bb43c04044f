package storage

import (
	"errors"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// fileOf is a vfs.File of which only the descriptor is used.
type fileOf struct {
	vfs.File
	fd uintptr
}

func (f fileOf) Fd() uintptr { return f.fd }

// TestJournalStartWriteback: a file system without the call is not asked again, and any other error
// ends the journal.
func TestJournalStartWriteback(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{file: fileOf{fd: w.Fd()}, at: 100}
	if err := j.startWriteback(); err != nil || !j.noWriteback {
		t.Errorf("writeback of a pipe: %v, not supported: %v", err, j.noWriteback)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	const noFile = 1 << 30 // above any limit of descriptors
	j.file = fileOf{fd: noFile}
	if err := j.startWriteback(); err != nil {
		t.Errorf("writeback was tried again: %v", err)
	}
	j.noWriteback = false
	if err := j.startWriteback(); !errors.Is(err, unix.EBADF) || j.noWriteback {
		t.Errorf("writeback of a closed file: %v, not supported: %v", err, j.noWriteback)
	}
}
