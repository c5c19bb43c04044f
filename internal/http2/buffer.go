package http2

import (
	"sync"

	"cairn/internal/budget"
)

// Buffer is a pooled byte slice. Requests in assembly and responses in flight are in buffers; the
// last owner returns the buffer with Free, or drops it when another goroutine may still read it.
type Buffer struct {
	B []byte
	// release, if not nil, is called with B when the buffer is freed: the bytes belong to a Pieces.
	release func([]byte)
	// share is the number of bytes taken from account for the buffer; they are released when it is
	// freed.
	share   int64
	account *budget.Account
}

// bufferClasses are the capacities of pooled buffers. Messages of 64 KiB to 1 MiB and their
// prefixes waste no more than half of theirs.
var bufferClasses = [...]int{512, 4 << 10, 20 << 10, 40 << 10, 80 << 10, 160 << 10, 320 << 10, 640 << 10, 1<<20 + 32<<10}

var bufferPools [len(bufferClasses)]sync.Pool

// bufferBytes returns the capacity of a buffer for n bytes.
func bufferBytes(n int) int {
	for _, size := range bufferClasses {
		if n <= size {
			return size
		}
	}
	return n
}

// NewBuffer returns an empty buffer with room for at least n bytes. Buffers above the largest
// class are not pooled: they are rare and would pin memory.
func NewBuffer(n int) *Buffer {
	for i, size := range bufferClasses {
		if n <= size {
			if v := bufferPools[i].Get(); v != nil {
				return v.(*Buffer)
			}
			return &Buffer{B: make([]byte, 0, size)}
		}
	}
	return &Buffer{B: make([]byte, 0, n)}
}

// Free returns the buffer to the pool of its capacity, which append may have grown. Free of nil
// does nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	if b.share != 0 {
		b.account.Give(b.share)
		b.share, b.account = 0, nil
	}
	if b.release != nil {
		b.release(b.B)
		return
	}
	class := -1
	for i, size := range bufferClasses {
		if cap(b.B) >= size {
			class = i
		}
	}
	if class < 0 || cap(b.B) > 2*bufferClasses[len(bufferClasses)-1] {
		return
	}
	b.B = b.B[:0]
	bufferPools[class].Put(b)
}

// Grow returns a buffer with the same bytes and room for n more, of most that can still come. It is
// b, or a replacement of twice the capacity or, if that is less, with room for all that can come.
func (b *Buffer) Grow(n, most int) *Buffer {
	if cap(b.B)-len(b.B) >= n {
		return b
	}
	bigger := NewBuffer(len(b.B) + max(n, min(most, 2*cap(b.B)-len(b.B))))
	bigger.B = append(bigger.B, b.B...)
	bigger.share, bigger.account = b.share, b.account
	b.share, b.account = 0, nil
	b.Free()
	return bigger
}
