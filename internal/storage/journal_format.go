package storage

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
)

// The bytes of a journal's files, drawn in docs/formats/raft-log.md.
//
// Every file has a marker, a random number that is in the head of each of its records. The search
// for records behind a damaged place searches for the marker. Before the writer writes a payload
// that contains the marker, it starts a file with another marker. So no payload can be mistaken for
// a record.
const (
	journalSuffix = ".v2.journal"
	fileMagic     = "cairn journal 2\n"
	fileHead      = 32 // magic (16), marker (8), low half of the file's number (4), checksum (4)
	// recordHead is checksum (4), length of the data (4), marker (8), the offset up to which the
	// file was synced when the record was made (8), number of the record (8).
	recordHead = 32
	// recordAlign is the boundary on which records begin. A marker is searched for only there.
	recordAlign   = 8
	recordDataMax = 1<<31 - 1
	// markerBit is set in every marker, and in no other aligned word of a head.
	markerBit = 1 << 63
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newMarker returns the marker of a new file.
func newMarker() (uint64, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) | markerBit, err
}

// holdsMarker reports whether a payload contains the marker's bytes.
func holdsMarker(data []byte, marker uint64) bool {
	var m [8]byte
	binary.LittleEndian.PutUint64(m[:], marker)
	return bytes.Contains(data, m[:])
}

// appendFileHead appends the head of a file.
func appendFileHead(b []byte, number, marker uint64) []byte {
	at := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint64(b, marker)
	b = binary.LittleEndian.AppendUint32(b, uint32(number))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// parseFileHead returns the marker of a file.
func parseFileHead(b []byte, number uint64) (marker uint64, ok bool) {
	if len(b) < fileHead {
		return 0, false
	}
	marker = binary.LittleEndian.Uint64(b[len(fileMagic):])
	return marker, bytes.Equal(b[:fileHead], appendFileHead(nil, number, marker))
}

// recordSize returns the size of a record with so many bytes of data.
func recordSize(data int) int {
	return (recordHead + data + recordAlign - 1) &^ (recordAlign - 1)
}

// appendRecord appends a record, with zeros up to the boundary on which the next one begins.
func appendRecord(b []byte, marker, synced, number uint64, data []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = append(b, data...)
	b = append(b, make([]byte, recordSize(len(data))-recordHead-len(data))...)
	r := b[at:]
	binary.LittleEndian.PutUint32(r[4:], uint32(len(data)))
	binary.LittleEndian.PutUint64(r[8:], marker)
	binary.LittleEndian.PutUint64(r[16:], synced)
	binary.LittleEndian.PutUint64(r[24:], number)
	binary.LittleEndian.PutUint32(r, crc32.Checksum(r[4:], castagnoli))
	return b
}

// record is one record of a journal.
type record struct {
	number uint64
	synced uint64 // offset up to which the file was synced when the record was made
	data   []byte
	size   int
}

// parseRecord reads the record at the beginning of b, of a file with a marker.
func parseRecord(b []byte, marker uint64) (r record, ok bool) {
	if len(b) < recordHead || binary.LittleEndian.Uint64(b[8:]) != marker {
		return r, false
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if length > recordDataMax || uint64(length) > uint64(len(b)-recordHead) {
		return r, false
	}
	r.size = recordSize(int(length))
	if r.size > len(b) || crc32.Checksum(b[4:r.size], castagnoli) != binary.LittleEndian.Uint32(b) {
		return r, false
	}
	r.synced, r.number = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	r.data = b[recordHead : recordHead+int(length)]
	return r, true
}

// syncedBeyond reports whether behind end, where no record could be read, there is a record that
// was made when the file had been synced beyond end.
func syncedBeyond(b []byte, marker uint64, end int) bool {
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], marker)
	for at := end; at+recordHead <= len(b); at++ {
		i := bytes.Index(b[at+8:], want[:])
		if i < 0 {
			return false
		}
		at += i
		if at%recordAlign != 0 {
			continue
		}
		if r, ok := parseRecord(b[at:], marker); ok && r.synced > uint64(end) {
			return true
		}
	}
	return false
}
