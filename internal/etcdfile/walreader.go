package etcdfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// walRecord is one record. Its data is valid until the next one is read.
type walRecord struct {
	kind   uint64
	sum    uint32
	data   []byte
	offset int64 // of data in the file
}

// parseWALRecord takes a record apart: 1 type, 2 checksum, 3 data.
func parseWALRecord(b []byte) (rec walRecord, err error) {
	err = eachField(b, func(number protowire.Number, value uint64, data []byte) {
		switch number {
		case 1:
			rec.kind = value
		case 2:
			rec.sum = uint32(value)
		case 3:
			rec.data = data
		}
	})
	return rec, err
}

// walReader reads the records of one file.
type walReader struct {
	f    io.ReaderAt
	in   *bufio.Reader
	size int64
	at   int64 // of the next record
	sum  uint32
	last bool // the file is the log's last, whose end may be torn
	buf  []byte
}

// walBufferBytes is the size of a read from a file.
const walBufferBytes = 256 << 10

func newWALReader(f io.ReaderAt, size int64, sum uint32, last bool) *walReader {
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), int(min(size, walBufferBytes)))
	return &walReader{f: f, in: in, size: size, sum: sum, last: last}
}

// next returns the next record, or io.EOF behind the last one.
func (r *walReader) next() (rec walRecord, err error) {
	if r.size-r.at < 8 {
		return rec, io.EOF
	}
	var head [8]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return rec, err
	}
	length, padding := frame(head)
	if length == 0 {
		return rec, io.EOF // the rest of the file was reserved and not written
	}
	if length+padding > r.size-r.at-8 {
		return rec, r.torn(fmt.Errorf("%w: a record of %d bytes, %d are left of the file", ErrCorrupt, length, r.size-r.at-8), nil)
	}
	if int64(cap(r.buf)) < length+padding {
		r.buf = make([]byte, length+padding)
	}
	r.buf = r.buf[:length+padding]
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		return rec, err
	}
	if rec, err = parseWALRecord(r.buf[:length]); err != nil {
		return rec, r.torn(err, r.buf)
	}
	switch {
	case rec.kind == recordCRC:
		if r.sum != 0 && rec.sum != r.sum {
			return rec, fmt.Errorf("%w: the file begins with checksum %08x, the one before ends with %08x", ErrCorrupt, rec.sum, r.sum)
		}
		r.sum = rec.sum
	case rec.kind < recordMetadata || rec.kind > recordSnapshot:
		return rec, r.torn(fmt.Errorf("%w: record of type %d", ErrCorrupt, rec.kind), r.buf)
	default:
		sum := crc32.Update(r.sum, castagnoli, rec.data)
		if sum != rec.sum {
			return rec, r.torn(fmt.Errorf("%w: checksum mismatch: computed %08x, recorded %08x", ErrCorrupt, sum, rec.sum), r.buf)
		}
		r.sum = sum
	}
	// The data is the last field of a record.
	rec.offset = r.at + 8 + length - int64(len(rec.data))
	r.at += 8 + length + padding
	return rec, nil
}

// frame returns the length of a record and of the padding behind it.
func frame(head [8]byte) (length, padding int64) {
	n := binary.LittleEndian.Uint64(head[:])
	length = int64(n & (1<<56 - 1))
	if n>>63 != 0 {
		padding = int64(n >> 56 & 7)
	}
	return length, padding
}

// torn returns io.EOF where a fault means that the record was being written when etcd was killed:
// in the last file, with a sector of zeros in the record or no complete record behind it. Otherwise
// it returns the fault.
func (r *walReader) torn(fault error, record []byte) error {
	if !r.last {
		return fault
	}
	if r.zeroSector(record) {
		return io.EOF
	}
	follows, err := r.recordsFollow()
	switch {
	case err != nil:
		return err
	case follows:
		return fmt.Errorf("%w: whole records follow", fault)
	default:
		return io.EOF
	}
}

// zeroSector reports whether the part of a record in some sector has only zeros.
func (r *walReader) zeroSector(record []byte) bool {
	at := r.at + 8
	for len(record) > 0 {
		n := min(int64(len(record)), walSector-at%walSector)
		if len(bytes.Trim(record[:n], "\x00")) == 0 {
			return true
		}
		record, at = record[n:], at+n
	}
	return false
}

// recordsFollow reports whether there are two consecutive complete records, the second with the
// checksum that follows from the first, somewhere behind the place where reading has ended.
func (r *walReader) recordsFollow() (bool, error) {
	rest := make([]byte, min(r.size-r.at-8, walSearchBytes))
	if _, err := r.f.ReadAt(rest, r.at+8); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	one := func(at int) (rec walRecord, next int, ok bool) {
		if len(rest)-at < 8 {
			return rec, 0, false
		}
		length, padding := frame([8]byte(rest[at:]))
		if length == 0 || length+padding > int64(len(rest)-at-8) {
			return rec, 0, false
		}
		rec, err := parseWALRecord(rest[at+8 : at+8+int(length)])
		return rec, at + 8 + int(length+padding), err == nil && rec.kind >= recordMetadata && rec.kind <= recordSnapshot
	}
	for at := 0; at < len(rest); at++ {
		first, next, ok := one(at)
		if !ok {
			continue
		}
		second, _, ok := one(next)
		if ok && crc32.Update(first.sum, castagnoli, second.data) == second.sum {
			return true, nil
		}
	}
	return false, nil
}

// walSearchBytes is how far behind a fault records are searched for.
const walSearchBytes = 8 << 20
