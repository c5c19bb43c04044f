package storage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// Files of the first format of the journal are read when a store is opened, and not written. Their
// records are found by the number of the file, which a payload may contain as well: so the search
// for records behind a damaged place may find one that a client has forged.

const journalSuffixV1 = ".journal"

// parseRecordV1 reads the record at the beginning of b, of a file with a number.
func parseRecordV1(b []byte, file uint64) (r record, ok bool) {
	if len(b) < recordHead || binary.LittleEndian.Uint64(b[8:]) != file {
		return r, false
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if length > uint64(len(b)-recordHead) {
		return r, false
	}
	r.size = recordHead + int(length)
	if crc32.Checksum(b[4:r.size], castagnoli) != binary.LittleEndian.Uint32(b) {
		return r, false
	}
	r.synced, r.number, r.data = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]), b[recordHead:r.size]
	return r, true
}

// syncedBeyondV1 reports whether behind the last record that could be read, which ends at end,
// there is one that was made when the file had been synced beyond end.
func syncedBeyondV1(b []byte, file uint64, end int) bool {
	want := binary.LittleEndian.AppendUint64(nil, file)
	for at := end; ; at++ {
		if at+8 > len(b) {
			return false
		}
		i := bytes.Index(b[at+8:], want)
		if i < 0 {
			return false
		}
		at += i
		if r, ok := parseRecordV1(b[at:], file); ok && r.synced > uint64(end) {
			return true
		}
	}
}
