package snapshot

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"cairn/internal/codec"
)

// Stream reads the stream of a Source.
type Stream struct {
	meta Meta
	r    *bufio.Reader

	offset int64
	at     int64 // offset of the block that was read last
	hash   *xxhash.Digest
	count  uint64
	last   []byte // the highest key so far
	rest   []byte // the unread part of the chunk
	raw    []byte
	block  bytes.Buffer
	err    error
}

// NewStream reads the header. After the trailer it reads no more from r than one buffer.
func NewStream(r io.Reader) (*Stream, error) {
	s := &Stream{r: bufio.NewReaderSize(r, 64<<10), hash: xxhash.New()}
	if err := s.readHeader(); err != nil {
		return nil, s.placed(err)
	}
	return s, nil
}

func (s *Stream) readHeader() error {
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(s.r, magic); err != nil {
		return s.broken(err)
	}
	if string(magic) != Magic {
		return fmt.Errorf("%w: it does not begin with the magic bytes of a snapshot", ErrCorrupt)
	}
	s.offset = int64(len(Magic))
	kind, payload, err := s.next()
	if err != nil {
		return err
	}
	if kind != blockHeader {
		return fmt.Errorf("%w: no header", ErrCorrupt)
	}
	s.meta, err = decodeMeta(payload)
	return err
}

// placed adds the offset of the block to an error about damage.
func (s *Stream) placed(err error) error {
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("block at offset %d: %w", s.at, err)
}

// Meta returns the header's metadata.
func (s *Stream) Meta() Meta { return s.meta }

// Count returns the number of key-values returned so far.
func (s *Stream) Count() uint64 { return s.count }

// Hash returns the hash of the key-values returned so far; after io.EOF, of all of them.
func (s *Stream) Hash() uint64 { return s.hash.Sum64() }

// Bytes returns the number of bytes of the stream read so far.
func (s *Stream) Bytes() int64 { return s.offset }

// Rest returns the bytes behind the stream, after Next has returned io.EOF.
func (s *Stream) Rest() io.Reader { return s.r }

// Close releases the decoder's memory.
func (s *Stream) Close() { s.raw, s.rest, s.block = nil, nil, bytes.Buffer{} }

// Next returns the next key-value, in the order of the keys. Both slices are valid until the next
// call. It returns io.EOF at the end of a stream whose trailer matched.
func (s *Stream) Next() (key, value []byte, err error) {
	for len(s.rest) == 0 && s.err == nil {
		s.err = s.placed(s.fill())
	}
	if s.err != nil {
		return nil, nil, s.err
	}
	key, value, s.rest, err = cutPair(s.rest)
	if err == nil && s.count > 0 && bytes.Compare(s.last, key) >= 0 {
		err = fmt.Errorf("%w: key %x after %x", ErrCorrupt, key, s.last)
	}
	if err != nil {
		s.err = s.placed(err)
		return nil, nil, s.err
	}
	s.last = append(s.last[:0], key...)
	s.count++
	return key, value, nil
}

// fill reads a chunk, or the trailer.
func (s *Stream) fill() error {
	kind, payload, err := s.next()
	if err != nil {
		return err
	}
	switch kind {
	case blockChunk:
		size, err := s2.DecodedLen(payload)
		if err != nil || size == 0 || size > chunkBytesMax {
			return fmt.Errorf("%w: a chunk of %d bytes", ErrCorrupt, size)
		}
		if s.raw, err = s2.Decode(s.raw[:cap(s.raw)], payload); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		s.hash.Write(s.raw) //nolint:errcheck // never fails
		s.rest = s.raw
		return nil
	case blockTrailer:
		r := codec.NewReader(payload)
		if count, hash := r.Uvarint(), r.Uint64(); r.End() != nil || count != s.count || hash != s.hash.Sum64() {
			return fmt.Errorf("%w: %d key-values read: count or hash differs from the trailer's", ErrCorrupt, s.count)
		}
		return io.EOF
	default:
		return fmt.Errorf("%w: a block of type %#x", ErrCorrupt, kind)
	}
}

// next reads a block. It allocates as bytes arrive, and does not trust the length field.
func (s *Stream) next() (kind byte, payload []byte, err error) {
	s.at = s.offset
	var frame [frameBytes]byte
	if _, err := io.ReadFull(s.r, frame[:]); err != nil {
		return 0, nil, s.broken(err)
	}
	size := int64(binary.BigEndian.Uint32(frame[1:]))
	if size > chunkBytesMax {
		return 0, nil, fmt.Errorf("%w: a block of %d bytes", ErrCorrupt, size)
	}
	s.block.Reset()
	if n, err := io.CopyN(&s.block, s.r, size+sumBytes); err != nil {
		if n > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, s.broken(err)
	}
	payload = s.block.Bytes()[:size]
	if binary.BigEndian.Uint32(s.block.Bytes()[size:]) != checksum(s.offset, frame[:], payload) {
		return 0, nil, fmt.Errorf("%w: checksum mismatch", ErrCorrupt)
	}
	s.offset += frameBytes + size + sumBytes
	return frame[0], payload, nil
}

// broken returns the error for a failed read from the stream.
func (s *Stream) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the stream ends early", ErrCorrupt)
	}
	return fmt.Errorf("read snapshot: %w", err)
}

func cutPair(b []byte) (key, value, rest []byte, err error) {
	r := codec.NewReader(b)
	keyLen, valueLen := r.Uvarint(), r.Uvarint()
	if keyLen == 0 {
		r.Fail("an empty key")
	}
	key, value = r.Take(keyLen), r.Take(valueLen)
	if err := r.Err(); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: key-value in a chunk: %w", ErrCorrupt, err)
	}
	return key, value, r.Rest(), nil
}
