package h2grpc

import "sync"

// buffer is a pooled byte slice. Requests in assembly and answers in flight live in buffers;
// whoever holds one last gives it back with free, or forgets it when another goroutine may
// still be reading it.
type buffer struct {
	b    []byte
	done func([]byte) // not nil: not of a pool of ours, but an answer's (WirePieces)
}

var bufferClasses = [...]int{512, 4 << 10, 32 << 10, 256 << 10, 1 << 20}

var bufferPools [len(bufferClasses)]sync.Pool

// newBuffer returns an empty buffer with room for at least n bytes. Larger ones than the
// largest class are not pooled: they are rare and would pin memory.
func newBuffer(n int) *buffer {
	for i, size := range bufferClasses {
		if n <= size {
			if v := bufferPools[i].Get(); v != nil {
				return v.(*buffer)
			}
			return &buffer{b: make([]byte, 0, size)}
		}
	}
	return &buffer{b: make([]byte, 0, n)}
}

// free gives the buffer back. One that was grown by append is filed under what it has become.
func (b *buffer) free() {
	if b == nil {
		return
	}
	if b.done != nil {
		b.done(b.b)
		return
	}
	class := -1
	for i, size := range bufferClasses {
		if cap(b.b) >= size {
			class = i
		}
	}
	if class < 0 || cap(b.b) > 2*bufferClasses[len(bufferClasses)-1] {
		return
	}
	b.b = b.b[:0]
	bufferPools[class].Put(b)
}

// grow makes room for n more bytes, at least doubling, in a buffer of the next class.
func (b *buffer) grow(n int) *buffer {
	if cap(b.b)-len(b.b) >= n {
		return b
	}
	bigger := newBuffer(max(len(b.b)+n, 2*cap(b.b)))
	bigger.b = append(bigger.b, b.b...)
	b.free()
	return bigger
}
