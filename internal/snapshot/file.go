package snapshot

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

// In a file, the stream is padded with zeros to a multiple of fileBlock, and the SHA-256 of stream
// and padding follows. etcd's snapshot files end like that, and its clients reject files that do
// not.
const fileBlock = 512

// File is an io.Reader of the bytes of a snapshot file: the stream, the padding and the SHA-256.
type File struct {
	stream io.Reader
	sum    hash.Hash
	bytes  int64
	// tail is the unread part of padding and SHA-256; nil before the end of the stream.
	tail []byte
}

// NewFile returns the file of a stream.
func NewFile(stream io.Reader) *File { return &File{stream: stream, sum: sha256.New()} }

// HasMagic reports whether a file begins like a snapshot, which may be incomplete. Errors count as
// no.
func HasMagic(f io.ReaderAt) bool {
	var begin [len(Magic)]byte
	n, _ := f.ReadAt(begin[:], 0) // an io.EOF for a file that is just as long
	return string(begin[:n]) == Magic
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	if f.tail == nil {
		n, err := f.stream.Read(p)
		f.sum.Write(p[:n]) //nolint:errcheck // never fails
		f.bytes += int64(n)
		if err != io.EOF { //nolint:errorlint // as io.Reader has it
			return n, err
		}
		fill := make([]byte, (fileBlock-f.bytes%fileBlock)%fileBlock, fileBlock+sha256.Size)
		f.sum.Write(fill) //nolint:errcheck // never fails
		f.tail = f.sum.Sum(fill)
		return n, nil
	}
	if len(f.tail) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.tail)
	f.tail = f.tail[n:]
	return n, nil
}

// WholeFile reports whether a complete file may have a size.
func WholeFile(size int64) bool { return size >= sha256.Size && size%fileBlock == sha256.Size }

// CheckFile reads a file of the given size. It returns an error that wraps ErrCorrupt if the size
// or the SHA-256 is not that of a file made by NewFile.
func CheckFile(r io.Reader, size int64) error {
	if !WholeFile(size) {
		return fmt.Errorf("%w: the file ends at offset %d: want a multiple of %d and %d bytes of SHA-256", ErrCorrupt, size, fileBlock, sha256.Size)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, r, size-sha256.Size); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if got := sum.Sum(nil); string(got) != string(want[:]) {
		return fmt.Errorf("%w: checksum mismatch at offset %d: computed SHA-256 %x, recorded %x", ErrCorrupt, size-sha256.Size, got, want)
	}
	return nil
}
