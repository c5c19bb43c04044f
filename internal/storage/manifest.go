package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	chunks "github.com/cockroachdb/pebble/v2/record"
)

// ErrDamagedManifest reports that pebble's list of a store's files has changed since it was
// written.
var ErrDamagedManifest = errors.New("the list of the store's files is damaged: " + Advice)

// verifyManifest reports damage to pebble's list of files in a store's directory. Pebble itself
// takes the first record that it cannot read for the end of the list, torn by a crash, and removes
// the files that later records name. The end of a list is torn if no complete record follows.
func verifyManifest(on FS, dir string) error {
	found, err := pebble.Peek(dir, on)
	if err != nil || !found.Exists {
		return err
	}
	path := found.ManifestFilename
	f, err := on.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: does not exist: %w", path, ErrDamagedManifest)
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	end := manifestEnd(b)
	if end == 0 {
		return fmt.Errorf("%s: no record at byte 0: %w", path, ErrDamagedManifest)
	}
	if recordFollows(b, end) {
		return fmt.Errorf("%s: no record at byte %d: %w", path, end, ErrDamagedManifest)
	}
	return nil
}

// manifestEnd returns the offset behind the last record of a manifest that can be read.
func manifestEnd(b []byte) (end int) {
	r := chunks.NewReader(bytes.NewReader(b), 0)
	for {
		one, err := r.Next()
		if err != nil {
			return end
		}
		if _, err := io.Copy(io.Discard, one); err != nil {
			return end
		}
		end = int(r.Offset())
	}
}

// The chunks of a manifest's records: a checksum (4 bytes), the length of the data (2), the type
// (1), the data. Chunks do not cross the borders of blocks.
const (
	chunkHead     = 7
	chunkFull     = 1 // a whole record
	chunkFirst    = 2 // the first chunk of a record
	manifestBlock = 32 << 10
)

// recordFollows reports whether a record begins behind an offset, from which the manifest can be
// read to its end. Each record is synced before the next one is written. That nothing but records
// follows distinguishes it from bytes of a key in a torn record: a client chooses the keys.
func recordFollows(b []byte, end int) bool {
	for at := end; at+chunkHead <= len(b); at++ {
		kind := b[at+6]
		if (kind == chunkFull || kind == chunkFirst) && chunksToEnd(b, at) {
			return true
		}
	}
	return false
}

// chunksToEnd reports whether chunks, all with the right checksums, fill a manifest from an offset
// to its end.
func chunksToEnd(b []byte, at int) bool {
	for at < len(b) {
		left := min(len(b), (at/manifestBlock+1)*manifestBlock) - at // of the block
		if left < chunkHead {
			at += left // too short for a chunk: it is filled with zeros
			continue
		}
		size := chunkHead + int(binary.LittleEndian.Uint16(b[at+4:]))
		if size == chunkHead || size > left {
			return false
		}
		sum := crc32.Checksum(b[at+6:at+size], castagnoli)
		if (sum>>15|sum<<17)+0xa282ead8 != binary.LittleEndian.Uint32(b[at:]) {
			return false
		}
		at += size
	}
	return true
}
