// Package snapshot owns the stream that carries a whole state: to a follower that is too far behind
// for the log, and into the file of a backup.
//
// The stream (docs/formats/snapshot.md) is a header with the applied index, the term and the
// membership of the state, all key-values of all tables in order in compressed chunks with
// checksums, and a trailer with their number and hash. Source writes it from a view of the store,
// Stream reads it. Both hold at most one chunk in memory, or one key-value where that is larger.
// The package does not own the meaning of the key-values (machine), the transport (peer, v3rpc), or
// files (backup).
//
// Invariants: a Stream returns a key-value only after verifying its chunk, and io.EOF only after
// verifying the trailer: a truncated stream, or one with a flipped bit, is an error
// (TestEveryByteCounts). The same view gives the same bytes (TestSameViewSameBytes).
//
// Concurrency: a Source or a Stream belongs to one goroutine at a time.
package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// Magic is the prefix of every stream.
const Magic = "cairn snapshot\n"

// Format is the version of the layout that this version writes, and the highest that it reads.
const Format = 1

// Meta is the state's metadata in the header.
type Meta struct {
	ClusterID       uint64
	Index, Term     uint64 // of the last applied entry
	Revision        int64
	CompactRevision int64
	Time            kv.ClusterTime
	ConfState       *raftpb.ConfState // the configuration as of Index
}

// ErrCorrupt is wrapped by the errors about a stream that was truncated or modified.
var ErrCorrupt = errors.New("corrupt snapshot")

// Block types: the first byte of each block.
const (
	blockHeader  = 'h'
	blockChunk   = 'c'
	blockTrailer = 't'
)

// Sizes of a block.
const (
	// target size of a chunk before compression; a larger key-value has a chunk to itself
	chunkBytes = 1 << 20
	// maximum size of a block that is read; no key-value can be larger (machine.batchBytesMax and
	// the limits of a command)
	chunkBytesMax = 1 << 30
	frameBytes    = 5 // type, length
	sumBytes      = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of a block at an offset of the stream. It covers the offset, so
// that a moved block is detected.
func checksum(offset int64, frame, payload []byte) uint32 {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(offset))
	sum := crc32.Update(0, castagnoli, at[:])
	sum = crc32.Update(sum, castagnoli, frame)
	return crc32.Update(sum, castagnoli, payload)
}

// append appends the header's payload.
func (m *Meta) append(dst []byte) ([]byte, error) {
	dst = append(dst, Format)
	dst = binary.BigEndian.AppendUint64(dst, m.ClusterID)
	for _, v := range [...]uint64{m.Index, m.Term, uint64(m.Revision), uint64(m.CompactRevision), uint64(m.Time)} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m.ConfState)
	if err != nil {
		return nil, fmt.Errorf("write snapshot header: %w", err)
	}
	return dst, nil
}

func decodeMeta(b []byte) (m Meta, err error) {
	if len(b) > 0 && b[0] > Format {
		return m, fmt.Errorf("snapshot has format %d, newer than %d, the newest that this version of cairn reads: use the version that wrote it, or a later one", b[0], Format)
	}
	r := codec.NewReader(b)
	if format := r.Byte(); format != Format {
		r.Fail("format %d", format)
	}
	m.ClusterID, m.Index, m.Term = r.Uint64(), r.Uvarint(), r.Uvarint()
	m.Revision, m.CompactRevision, m.Time = int64(r.Uvarint()), int64(r.Uvarint()), kv.ClusterTime(r.Uvarint())
	conf := r.Rest()
	if err := r.Err(); err != nil {
		return m, fmt.Errorf("%w: header %x: %w", ErrCorrupt, b, err)
	}
	m.ConfState = &raftpb.ConfState{}
	if err := proto.Unmarshal(conf, m.ConfState); err != nil {
		return m, fmt.Errorf("%w: membership in the header: %w", ErrCorrupt, err)
	}
	return m, nil
}
