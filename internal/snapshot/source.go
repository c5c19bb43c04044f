package snapshot

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"cairn/internal/storage"
)

// Source is an io.ReadCloser of the stream of a view.
type Source struct {
	meta Meta
	view *storage.View

	next   []byte // the first key not yet read
	ended  bool   // the trailer was written
	hash   *xxhash.Digest
	count  uint64
	offset int64 // of the block after pending
	raw    []byte
	packed []byte // buffers: raw, compressed
	block  []byte
	// pending is the unread part of the current block.
	pending []byte
	err     error
}

// NewSource returns the stream of a view. Closing it closes the view. meta must describe that view.
func NewSource(view *storage.View, meta Meta) (*Source, error) {
	s := &Source{meta: meta, view: view, hash: xxhash.New()}
	header, err := meta.append(nil)
	if err != nil {
		return nil, err
	}
	s.pending = append(s.pending, Magic...)
	s.offset = int64(len(Magic))
	s.put(blockHeader, header)
	s.pending = append(s.pending, s.block...)
	return s, nil
}

// Meta returns the header's metadata.
func (s *Source) Meta() Meta { return s.meta }

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	for len(s.pending) == 0 {
		switch {
		case s.err != nil:
			return 0, s.err
		case s.ended:
			return 0, io.EOF
		}
		if s.err = s.fill(); s.err == nil {
			s.pending = s.block
		}
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

// Close closes the view.
func (s *Source) Close() error {
	if s.err == nil {
		s.err = storage.ErrClosed
	}
	s.pending = nil
	return s.view.Close()
}

// fill makes the next block. It reads the view only during the call, so that closing the store does
// not wait for a slow reader of the stream.
func (s *Source) fill() error {
	s.raw = s.raw[:0]
	it := s.view.Iter(s.next, nil)
	ok := it.First()
	for ; ok && len(s.raw) < chunkBytes; ok = it.Next() {
		key, value := it.Key(), it.Value()
		if n := len(key) + len(value); len(s.raw) > 0 && len(s.raw)+n > chunkBytes {
			break
		}
		s.raw = appendPair(s.raw, key, value)
		s.count++
	}
	if ok {
		s.next = append(s.next[:0], it.Key()...)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("stream snapshot: %w", err)
	}
	if len(s.raw) > 0 {
		s.hash.Write(s.raw) //nolint:errcheck // never fails
		s.packed = slices.Grow(s.packed[:0], s2.MaxEncodedLen(len(s.raw)))
		s.put(blockChunk, s2.Encode(s.packed[:cap(s.packed)], s.raw))
		s.next = s.nextOrEnd(ok)
		return nil
	}
	s.put(blockTrailer, binary.BigEndian.AppendUint64(binary.AppendUvarint(nil, s.count), s.hash.Sum64()))
	s.ended = true
	return nil
}

// nextOrEnd returns the key to continue at, which is behind all keys when there are no more.
func (s *Source) nextOrEnd(more bool) []byte {
	if more {
		return s.next
	}
	return append(s.next[:0], 0xff)
}

// put encodes a payload as the pending block.
func (s *Source) put(kind byte, payload []byte) {
	s.block = append(s.block[:0], kind)
	s.block = binary.BigEndian.AppendUint32(s.block, uint32(len(payload)))
	s.block = append(s.block, payload...)
	s.block = binary.BigEndian.AppendUint32(s.block, checksum(s.offset, s.block[:frameBytes], payload))
	s.offset += int64(len(s.block))
}

func appendPair(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(append(dst, key...), value...)
}
