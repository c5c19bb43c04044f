package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"

	"go.etcd.io/raft/v3/raftpb"
)

// kind is the type of a frame (docs/formats/peer.md).
type kind byte

const (
	kindMessage   kind = 1
	kindPing      kind = 2
	kindPong      kind = 3
	kindAlive     kind = 4
	kindSnapshot  kind = 5
	kindChunk     kind = 6
	kindAck       kind = 7
	kindEnd       kind = 8
	kindInstalled kind = 9
	kindFailed    kind = 10
)

const (
	frameHead = 9 // length (4), checksum (4), kind (1)

	readBufferBytes = 64 << 10
	referBytesMin   = 4 << 10   // entries of this size or more are passed to writev without a copy
	batchBytesMax   = 256 << 10 // collected before a write, in addition to one message
	trustBytes      = 4 << 20   // allocated for a frame before its bytes arrive
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFrame is wrapped by the errors about bytes that no cairn can have sent.
var errFrame = errors.New("corrupt frame")

// part is foreign data to be written at an offset of the batch's buffer.
type part struct {
	at   int
	data []byte
}

// batch collects frames for one write. It is reused.
type batch struct {
	refer    bool // the connection has writev: large data are referenced, not copied
	buf      []byte
	parts    []part
	referred int // bytes of parts
	out      net.Buffers
	iov      [][]byte
}

func (b *batch) size() int { return len(b.buf) + b.referred }

func (b *batch) reset() {
	clear(b.parts)
	clear(b.iov)
	b.buf, b.parts, b.iov, b.referred = b.buf[:0], b.parts[:0], b.iov[:0], 0
	if cap(b.buf) > 2*batchBytesMax {
		b.buf = nil
	}
}

// message appends the frame of a raft message.
func (b *batch) message(m *raftpb.Message) error {
	start, firstPart := len(b.buf), len(b.parts)
	b.buf = append(b.buf, 0, 0, 0, 0, 0, 0, 0, 0, byte(kindMessage))
	if err := b.appendMessage(m); err != nil {
		b.buf = b.buf[:start]
		return err
	}
	b.finish(start, firstPart)
	return nil
}

// frame appends a frame whose payload is the concatenation of pieces.
func (b *batch) frame(k kind, pieces ...[]byte) {
	start, firstPart := len(b.buf), len(b.parts)
	b.buf = append(b.buf, 0, 0, 0, 0, 0, 0, 0, 0, byte(k))
	for _, p := range pieces {
		if b.refer && len(p) >= referBytesMin {
			b.parts = append(b.parts, part{at: len(b.buf), data: p})
			b.referred += len(p)
		} else {
			b.buf = append(b.buf, p...)
		}
	}
	b.finish(start, firstPart)
}

// finish writes length and checksum into the head of the frame that begins at start.
func (b *batch) finish(start, firstPart int) {
	at, length := start+8, len(b.buf)-start-8
	sum := uint32(0)
	for _, p := range b.parts[firstPart:] {
		sum = crc32.Update(sum, castagnoli, b.buf[at:p.at])
		sum = crc32.Update(sum, castagnoli, p.data)
		at = p.at
		length += len(p.data)
	}
	sum = crc32.Update(sum, castagnoli, b.buf[at:])
	binary.BigEndian.PutUint32(b.buf[start:], uint32(length))
	binary.BigEndian.PutUint32(b.buf[start+4:], sum)
}

// writeTo writes the collected frames.
func (b *batch) writeTo(w io.Writer) error {
	if len(b.parts) == 0 {
		_, err := w.Write(b.buf)
		return err
	}
	at := 0
	for _, p := range b.parts {
		b.iov = append(b.iov, b.buf[at:p.at], p.data)
		at = p.at
	}
	if at < len(b.buf) {
		b.iov = append(b.iov, b.buf[at:])
	}
	b.out = b.iov
	_, err := b.out.WriteTo(w)
	return err
}

// frameReader reads frames.
type frameReader struct {
	r    *bufio.Reader
	max  int // of a payload
	held int // bytes of the last frame that are still in r, because its payload was borrowed
	// buffer returns a buffer for a payload of n bytes that does not fit into r; nil: a new one.
	buffer func(n int) []byte
}

func newFrameReader(r io.Reader, payloadMax int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, readBufferBytes), max: payloadMax}
}

// next reads a frame. A borrowed payload is valid until the next call; otherwise the caller owns
// it. The error is io.EOF at the end between two frames, and wraps errFrame when the bytes are
// invalid.
func (f *frameReader) next() (k kind, payload []byte, borrowed bool, err error) {
	if _, err := f.r.Discard(f.held); err != nil {
		return 0, nil, false, err
	}
	f.held = 0
	head, err := f.r.Peek(frameHead)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, false, err
	}
	length, sum := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	k = kind(head[8])
	check := crc32.Update(0, castagnoli, head[8:frameHead])
	if length < 1 || uint64(length) > uint64(f.max)+1 {
		return 0, nil, false, fmt.Errorf("%w: length %d, not between 1 and %d", errFrame, length, f.max+1)
	}
	n := int(length) - 1
	if borrowed = frameHead+n <= f.r.Size(); borrowed {
		whole, err := f.r.Peek(frameHead + n)
		if err != nil {
			return 0, nil, false, unexpected(err)
		}
		f.held = frameHead + n
		payload = whole[frameHead:]
	} else {
		if _, err := f.r.Discard(frameHead); err != nil {
			return 0, nil, false, err
		}
		if payload, err = f.readLarge(n); err != nil {
			return 0, nil, false, unexpected(err)
		}
	}
	if check = crc32.Update(check, castagnoli, payload); check != sum {
		return 0, nil, false, fmt.Errorf("%w: checksum %08x of kind %d and %d bytes, want %08x", errFrame, check, k, n, sum)
	}
	return k, payload, borrowed, nil
}

// readLarge reads a payload of n bytes that does not fit into f.r.
func (f *frameReader) readLarge(n int) ([]byte, error) {
	if f.buffer == nil || n > trustBytes {
		return readLarge(f.r, n)
	}
	buf := f.buffer(n)
	_, err := io.ReadFull(f.r, buf)
	return buf, err
}

// readLarge reads n bytes. It allocates as they arrive, so that a length alone costs no memory.
func readLarge(r io.Reader, n int) ([]byte, error) {
	buf := make([]byte, min(n, trustBytes))
	have := 0
	for {
		m, err := io.ReadFull(r, buf[have:])
		have += m
		if err != nil {
			return nil, err
		}
		if have == n {
			return buf, nil
		}
		larger := make([]byte, min(n, 2*len(buf)))
		copy(larger, buf)
		buf = larger
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
