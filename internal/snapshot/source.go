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

// yieldBytes is how many bytes of key-values a Source reads between two calls of Yield: some 0.1
// ms.
const yieldBytes = 64 << 10

// Source is an io.ReadCloser of the stream of a view.
type Source struct {
	// Yield, if set, is called during Read after each yieldBytes of key-values, so that long work
	// of this kind can give way to requests. Set it before the first Read.
	Yield func()

	meta Meta
	view *storage.View

	next   []byte // the first key not yet read
	ended  bool   // the trailer was written
	hash   *xxhash.Digest
	count  uint64
	offset int64  // of the block after pending
	raw    []byte // buffer of a chunk's pairs
	block  []byte
	// storeNext is the number of chunks that are written without an attempt to compress them.
	storeNext int
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
	ok, yielded := it.First(), 0
	for ; ok && len(s.raw) < chunkBytes; ok = it.Next() {
		key, value := it.Key(), it.Value()
		if n := len(key) + len(value); len(s.raw) > 0 && len(s.raw)+n > chunkBytes {
			break
		}
		s.raw = appendPair(s.raw, key, value)
		s.count++
		if s.Yield != nil && len(s.raw)-yielded >= yieldBytes {
			yielded = len(s.raw)
			s.Yield()
		}
	}
	if ok {
		s.next = append(s.next[:0], it.Key()...)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("stream snapshot: %w", err)
	}
	if len(s.raw) > 0 {
		s.hash.Write(s.raw) //nolint:errcheck // never fails
		s.putChunk()
		if s.Yield != nil {
			s.Yield()
		}
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

const (
	// A chunk that compression shortens by less than 1/savedPart is not worth the time: compressing
	// it takes longer than sending what it saves over a link of 1 Gbit/s.
	savedPart = 8
	// storedChunks is the number of chunks after such a chunk that are not compressed.
	storedChunks = 7
)

// putChunk encodes the pairs in raw as the pending block. Values that are compressed or encrypted
// already, or random, cost compression as much time as others: after a chunk of these the next ones
// are stored. A stored chunk is an S2 block, too: one literal. The decision depends on the pairs
// alone, so that the same view gives the same bytes.
func (s *Source) putChunk() {
	s.begin(blockChunk)
	s.block = slices.Grow(s.block, s2.MaxEncodedLen(len(s.raw))+sumBytes)
	if s.storeNext > 0 && len(s.raw) <= chunkBytes {
		s.storeNext--
		s.block = appendStored(s.block, s.raw)
	} else {
		packed := s2.Encode(s.block[len(s.block):cap(s.block)], s.raw)
		s.block = s.block[:len(s.block)+len(packed)]
		if len(packed) > len(s.raw)-len(s.raw)/savedPart {
			s.storeNext = storedChunks
		}
	}
	s.end()
}

// put encodes a payload as the pending block.
func (s *Source) put(kind byte, payload []byte) {
	s.begin(kind)
	s.block = append(s.block, payload...)
	s.end()
}

// begin starts the pending block, whose payload is then appended to it.
func (s *Source) begin(kind byte) {
	s.block = append(s.block[:0], kind, 0, 0, 0, 0)
}

// end completes the pending block by the length of its payload and its checksum.
func (s *Source) end() {
	payload := s.block[frameBytes:]
	binary.BigEndian.PutUint32(s.block[1:], uint32(len(payload)))
	s.block = binary.BigEndian.AppendUint32(s.block, checksum(s.offset, s.block[:frameBytes], payload))
	s.offset += int64(len(s.block))
}

// literal24 is the tag of a literal in an S2 block whose length minus one follows in 24 bits,
// little-endian.
const literal24 = 62 << 2

// appendStored appends an S2 block of data, of 1 to 1<<24 bytes, that consists of one literal.
func appendStored(dst, data []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	n := len(data) - 1
	dst = append(dst, literal24, byte(n), byte(n>>8), byte(n>>16))
	return append(dst, data...)
}

func appendPair(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(append(dst, key...), value...)
}
