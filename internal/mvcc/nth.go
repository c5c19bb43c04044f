package mvcc

import (
	"bytes"

	"cairn/internal/kv"
)

// Nth returns the live key of [start, end) before which n others are; end nil means no end, and a
// nil key that the range has n keys or fewer. It finds the key by the count index, so that it costs
// the same for all n. At an older revision the key may be some places off, by the keys that were
// created and deleted since. The reading must be one of a Store.
func (r Reading) Nth(start, end []byte, n int64) (key []byte, err error) {
	if r.v.loading {
		return nil, ErrLoading
	}
	c := r.head.counts
	chunk, block := c.at(start)
	from := []byte(c.chunks[chunk].starts[block])
	// The block of start may have keys before it: count from the block's first key.
	err = r.Walk(from, start, func([]byte, *kv.Record) ([]byte, bool) {
		n++
		return nil, true
	})
	if err != nil {
		return nil, err
	}
	from, n = c.skip(chunk, block, n)
	err = r.Walk(from, end, func(k []byte, _ *kv.Record) ([]byte, bool) {
		if n == 0 {
			key = bytes.Clone(k)
			return nil, false
		}
		n--
		return nil, true
	})
	return key, err
}

// skip returns the first key of the block with the key before which n live ones are, counted from
// the first key of a block, and how many of the n are in that block. It is the last block if there
// are fewer keys.
func (c *counts) skip(chunk, block int, n int64) (start []byte, rest int64) {
	for {
		ch := c.chunks[chunk]
		last := chunk == len(c.chunks)-1
		switch {
		case block == 0 && n >= ch.sum && !last:
			n -= ch.sum
			chunk++
		case n >= ch.live[block] && block+1 < len(ch.live):
			n -= ch.live[block]
			block++
		case n >= ch.live[block] && !last:
			n -= ch.live[block]
			chunk, block = chunk+1, 0
		default:
			return []byte(ch.starts[block]), n
		}
	}
}
