package mvcc

// arena allocates memory that lives as long as it is referenced; small pieces share an allocation.
type arena struct{ free []byte }

const arenaChunkBytes = 64 << 10

// reserve returns an empty slice with room for n bytes.
func (a *arena) reserve(n int) []byte {
	if n > arenaChunkBytes/8 {
		return make([]byte, 0, n)
	}
	if n > len(a.free) {
		a.free = make([]byte, arenaChunkBytes)
	}
	piece := a.free[:0:n]
	a.free = a.free[n:]
	return piece
}

// copy returns a copy of b, nil for nil.
func (a *arena) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(a.reserve(len(b)), b...)
}

// scratch allocates memory for one batch. Its zero value is empty.
type scratch struct{ chunk, free []byte }

// scratchKeptMax is the largest chunk that is used again for the next batch.
const scratchKeptMax = 1 << 20

// reset makes all memory free again.
func (s *scratch) reset() {
	if len(s.chunk) > scratchKeptMax {
		s.chunk = nil
	}
	s.free = s.chunk
}

// reserve returns an empty slice with room for n bytes.
func (s *scratch) reserve(n int) []byte {
	if n > len(s.free) {
		// The previous chunk is freed once the batch no longer refers to it.
		s.chunk = make([]byte, max(arenaChunkBytes, 2*n, min(2*len(s.chunk), scratchKeptMax)))
		s.free = s.chunk
	}
	piece := s.free[:0:n]
	s.free = s.free[n:]
	return piece
}
