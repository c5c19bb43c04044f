package storage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A WAL file is a row of blocks, and a block one of chunks (pebble's record package, walSyncWireFormat):
//
//	checksum (4) | length (2) | type (1) | log number (4) | synced up to (8) | data
//
// little-endian; the checksum is of all behind the length. A chunk never crosses the end of a block; where no head fits any
// more there are zeros.
const (
	walBlock     = 32 << 10
	walHead      = 19
	walTypeFirst = 9 // full, first, middle, last
	walTypeLast  = 12
)

// checkTail looks whether what pebble will take for the torn end of the newest WAL file is one. Pebble knows that a chunk it cannot read was
// synced when a chunk in a later block says so; but it does not look at what is behind it in the same block. A member that
// goes on without entries that it has acknowledged could lose them for the whole cluster, so we do.
func checkTail(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return nil //nolint:nilerr // it is pebble that makes the directory, and says what is wrong with it
	}
	names = slices.DeleteFunc(names, func(name string) bool { return filepath.Ext(name) != ".log" })
	if len(names) == 0 {
		return nil
	}
	name := slices.MaxFunc(names, func(a, b string) int { // by number: they have zeros before them, up to a width
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	var number uint32
	if _, err := fmt.Sscan(strings.TrimLeft(strings.TrimSuffix(name, ".log"), "0"), &number); err != nil {
		return nil //nolint:nilerr // no file of pebble's
	}
	path := fs.PathJoin(dir, name)
	f, err := fs.Open(path)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	at, synced, err := readTail(f, number)
	switch {
	case err != nil:
		return fmt.Errorf("open store: read %s: %w", path, err)
	case synced:
		return fmt.Errorf("open store: %s: %w: no record at byte %d", path, ErrDamagedLog, at)
	}
	return nil
}

// readTail reads chunks up to the first place where there is none, and says whether a chunk behind it in its block
// was written after that place had been synced.
func readTail(r io.Reader, number uint32) (at int64, synced bool, err error) {
	block := make([]byte, walBlock)
	for start := int64(0); ; start += walBlock {
		n, err := io.ReadFull(r, block)
		if err == io.EOF {
			return start, false, nil
		}
		if err != nil && err != io.ErrUnexpectedEOF { //nolint:errorlint // io.ReadFull returns these as they are
			return 0, false, err
		}
		b := block[:n]
		i := 0
		for walBlock-i >= walHead {
			size, _, ok := walChunk(b[i:], number)
			if !ok {
				return start + int64(i), syncedAfter(b[i:], number, uint64(start)+uint64(i)), nil
			}
			i += size
		}
	}
}

// syncedAfter says whether a chunk lies in b that was written when more than an offset of the file had been synced.
func syncedAfter(b []byte, number uint32, offset uint64) bool {
	for i := 1; i+walHead <= len(b); i++ {
		if _, upTo, ok := walChunk(b[i:], number); ok && upTo > offset {
			return true
		}
	}
	return false
}

var walTable = crc32.MakeTable(crc32.Castagnoli)

// walChunk returns the size of the chunk at the beginning of b, and up to where the file had been synced when it was written.
func walChunk(b []byte, number uint32) (size int, upTo uint64, ok bool) {
	if len(b) < walHead || b[6] < walTypeFirst || b[6] > walTypeLast || binary.LittleEndian.Uint32(b[7:]) != number {
		return 0, 0, false
	}
	size = walHead + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) {
		return 0, 0, false
	}
	sum := crc32.Checksum(b[6:size], walTable)
	if binary.LittleEndian.Uint32(b) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0, 0, false
	}
	return size, binary.LittleEndian.Uint64(b[11:]), true
}
