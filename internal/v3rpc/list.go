package v3rpc

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/budget"
	"cairn/internal/invariant"
	"cairn/internal/kv"
)

// rangeResponse is a RangeResponse; it is an mvcc.Sink that encodes the records as they arrive. It
// holds the encoded list once: in one buffer while that is short, and then in pieces, so that no
// growing buffer is copied and each piece is free again as soon as it is sent.
//
//	header │ first piece, up to 64 KiB │ pieces of 256 KiB … │ more, count
//
// A key-value may cross pieces. Invariant: r.full is empty, or r.kvs is a piece of pieceBytes and
// all of r.full but its first are, too (checked by need).
type rangeResponse struct {
	header   header
	keysOnly bool
	kvs      []byte   // the end of the list
	full     [][]byte // the pieces before kvs
	more     bool
	count    int64
	walk     budget.Walk // what it takes from the client's account while it is read and sent
	paid     bool        // the walk has taken the memory of a piece that is not there yet
}

const (
	// firstBytes is the size of a list that is held in one buffer: the transport copies it rather
	// than queuing it.
	firstBytes    = 64 << 10
	firstBytesMin = 512
	pieceBytes    = 256 << 10
	// fixedBytesMax is the maximum length of an encoded key-value without its key and value: seven
	// tags, four numbers and three lengths.
	fixedBytesMax = 7 + 4*10 + 3*10
)

// firstPieces and laterPieces pool the buffers of lists; the collector empties the pools after a
// while, so that the memory of a very long list is not kept for long.
var (
	firstPieces = sync.Pool{New: func() any { p := make([]byte, 0, firstBytesMin); return &p }}
	laterPieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}
)

// freePiece returns a piece to its pool.
func freePiece(p []byte) {
	switch {
	case cap(p) == pieceBytes:
		laterPieces.Put((*[pieceBytes]byte)(p[:pieceBytes]))
	case cap(p) >= firstBytesMin && cap(p) <= 2*firstBytes:
		p = p[:0]
		firstPieces.Put(&p)
	}
}

// Add implements mvcc.Sink.
func (r *rangeResponse) Add(key []byte, rec *kv.Record) bool {
	if r.kvs == nil {
		r.kvs = (*firstPieces.Get().(*[]byte))[:0]
	}
	n := fixedBytesMax + len(key)
	if !r.keysOnly {
		n += len(rec.Value)
	}
	switch {
	case n <= r.room():
		r.kvs = appendKeyValue(r.kvs, 2, key, rec, r.keysOnly)
	case r.pay(): // before anything is copied
		r.addAcross(key, rec)
	}
	return r.walk.Step(int64(n))
}

// Gather implements mvcc.Gatherer.
func (r *rangeResponse) Gather(bytes int) bool { return r.walk.Gather(int64(bytes)) }

// Pause implements mvcc.Pauser.
func (r *rangeResponse) Pause() error { return r.walk.Pause() }

// room returns the free space in the last piece.
func (r *rangeResponse) room() int {
	if len(r.full) == 0 {
		return firstBytes - len(r.kvs)
	}
	return pieceBytes - len(r.kvs)
}

// addAcross is Add for a key-value that may not fit into the last piece.
func (r *rangeResponse) addAcross(key []byte, rec *kv.Record) {
	value := rec.Value
	if r.keysOnly {
		value = nil
	}
	r.need(fixedBytesMax)
	r.kvs = protowire.AppendVarint(append(r.kvs, 2<<3|byte(protowire.BytesType)), uint64(sizeKeyValue(key, value, rec)))
	r.addBytes(1, key)
	r.need(fixedBytesMax)
	r.kvs = appendRevisions(r.kvs, rec)
	r.addBytes(5, value)
	r.need(fixedBytesMax)
	r.kvs = appendNumber(r.kvs, 6, uint64(rec.Lease))
}

// addBytes adds a bytes field, unless it is empty.
func (r *rangeResponse) addBytes(num protowire.Number, b []byte) {
	if len(b) == 0 {
		return
	}
	r.need(fixedBytesMax)
	r.kvs = protowire.AppendVarint(append(r.kvs, byte(num)<<3|byte(protowire.BytesType)), uint64(len(b)))
	for len(b) > 0 {
		r.need(1)
		n := min(len(b), r.room())
		r.kvs = append(r.kvs, b[:n]...)
		b = b[n:]
	}
}

// need makes space for n bytes.
func (r *rangeResponse) need(n int) {
	if r.room() >= n {
		return
	}
	invariant.Check(len(r.full) == 0 || cap(r.kvs) == pieceBytes, "piece %d of a list has room for %d bytes", len(r.full), cap(r.kvs))
	r.pay() // without memory the walk ends after this record
	r.paid = false
	r.full = append(r.full, r.kvs)
	r.kvs = laterPieces.Get().(*[pieceBytes]byte)[:0]
}

// pay takes the memory of the next piece. It reports false when the walk must end.
func (r *rangeResponse) pay() bool {
	r.paid = r.paid || r.walk.Piece(pieceBytes)
	return r.paid
}

// Reset implements mvcc.Sink.
func (r *rangeResponse) Reset() {
	r.walk.ReleaseAll()
	r.paid = false
	if len(r.full) == 0 {
		r.kvs = r.kvs[:0]
		return
	}
	freePiece(r.kvs)
	for _, p := range r.full[1:] {
		freePiece(p)
	}
	r.kvs, r.full = r.full[0][:0], nil
}

// Drop implements budget.Response: it releases a response that is not sent. It does nothing once
// the response has been encoded.
func (r *rangeResponse) Drop() {
	r.Reset()
	freePiece(r.kvs)
	r.kvs = nil
}

// Bytes implements budget.Response.
func (r *rangeResponse) Bytes() int64 {
	if len(r.full) > 0 {
		return 0
	}
	return int64(len(r.kvs))
}

// listBytes is the length of the list's encoding.
func (r *rangeResponse) listBytes() int {
	n := len(r.kvs)
	for _, p := range r.full {
		n += len(p)
	}
	return n
}

// besidesMax is the maximum length of a response's encoding without its list.
const besidesMax = 64

// SizeWire implements grpcserver.WireSizer.
func (r *rangeResponse) SizeWire() int { return r.listBytes() + besidesMax }

// AppendWire implements grpcserver.WireAppender. It releases the response.
func (r *rangeResponse) AppendWire(dst []byte) ([]byte, error) {
	dst = r.header.append(slices.Grow(dst, r.SizeWire()))
	return r.appendEnd(r.appendList(dst)), nil
}

// appendList appends the list and releases its pieces.
func (r *rangeResponse) appendList(dst []byte) []byte {
	for _, p := range r.full {
		dst = append(dst, p...)
	}
	dst = append(dst, r.kvs...)
	r.walk.HandOver()
	r.Drop()
	return dst
}

func (r *rangeResponse) appendEnd(dst []byte) []byte {
	if r.more {
		dst = append(dst, 3<<3, 1)
	}
	return appendNumber(dst, 4, uint64(r.count))
}

// WirePieces implements grpcserver.WirePieces.
func (r *rangeResponse) WirePieces() (pieces [][]byte, done func(piece []byte)) {
	if len(r.full) == 0 {
		return nil, nil
	}
	if r.room() >= besidesMax {
		r.kvs = r.appendEnd(r.kvs)
	} else if end := r.appendEnd(make([]byte, 0, besidesMax)); len(end) > 0 {
		r.full, r.kvs = append(r.full, r.kvs), end
	}
	return r.takeList(r.header.append(make([]byte, 0, besidesMax))), r.pieceDone()
}

// pieceDone returns a function that releases a piece that has been sent or dropped.
func (r *rangeResponse) pieceDone() func(piece []byte) {
	account := r.walk.Account()
	if account == nil {
		return freePiece
	}
	return func(p []byte) {
		if cap(p) == pieceBytes {
			account.GiveResponse(pieceBytes)
		}
		freePiece(p)
	}
}

// takeList returns the bytes before the list and its pieces, which pieceDone releases.
func (r *rangeResponse) takeList(before []byte) [][]byte {
	pieces := append(append(make([][]byte, 0, len(r.full)+2), before), r.full...)
	pieces = append(pieces, r.kvs)
	r.kvs, r.full = nil, nil
	if r.paid {
		r.walk.ReturnPiece(pieceBytes)
		r.paid = false
	}
	r.walk.LeavePieces()
	return pieces
}
