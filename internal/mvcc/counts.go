package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"cairn/internal/codec"
	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// The count index divides the key space into blocks of some hundred consecutive live keys, and has
// the first key and the number of live keys of each block. The number of keys in a range is the sum
// of the blocks inside plus a scan of the two blocks at its edges, so a count costs the same for a
// range of a thousand keys and of a hundred million.
//
// Only creates and deletes change it. The writer modifies a copy (the blocks' chunks are shared
// until they change), stores the changed blocks in table n with the batch that changed them, and
// publishes the copy with the batch's Head. A block of more than blockSplitKeys keys is divided
// before the next batch.
//
// Invariant: block 0 of chunk 0 starts at "", and starts ascend strictly. In builds with the tag
// invariants, countsEdit.check checks it for the chunks of each batch.
const (
	blockSplitKeys  = 384 // a block of more live keys is divided
	blockTargetKeys = 192 // live keys of each block after a division
	blockMergeKeys  = 48  // a block of fewer joins a neighbour that is below this, too
	chunkSplit      = 512 // a chunk of more blocks is divided in two
)

// counts is one immutable state of the count index.
type counts struct {
	chunks []*countChunk
}

// countChunk is a run of consecutive blocks.
type countChunk struct {
	starts []string // first key of each block
	live   []int64  // live keys of each block
	sum    int64    // of live
}

func (c *counts) total() (n int64) {
	for _, ch := range c.chunks {
		n += ch.sum
	}
	return n
}

// at finds the block that holds key.
func (c *counts) at(key []byte) (chunk, block int) {
	k := string(key)
	chunk = sort.Search(len(c.chunks), func(i int) bool { return c.chunks[i].starts[0] > k }) - 1
	starts := c.chunks[chunk].starts
	block = sort.Search(len(starts), func(i int) bool { return starts[i] > k }) - 1
	return chunk, block
}

// after returns the position of the block behind (chunk, block), and its first
// key; ok is false at the end.
func (c *counts) after(chunk, block int) (nextChunk, nextBlock int, start string, ok bool) {
	if block+1 < len(c.chunks[chunk].starts) {
		return chunk, block + 1, c.chunks[chunk].starts[block+1], true
	}
	if chunk+1 < len(c.chunks) {
		return chunk + 1, 0, c.chunks[chunk+1].starts[0], true
	}
	return 0, 0, "", false
}

// span plans the count of [lower, upper) (upper nil: no end): inner is the sum of the blocks
// inside, and the keys in [lower, left) and in [right, upper) must be scanned. When whole is false
// the range lies within one block and must be scanned entirely.
func (c *counts) span(lower, upper []byte) (inner int64, left, right []byte, whole bool) {
	fc, fb := c.at(lower)
	if c.chunks[fc].starts[fb] != string(lower) {
		var start string
		var ok bool
		if fc, fb, start, ok = c.after(fc, fb); !ok {
			return 0, nil, nil, false
		}
		if upper != nil && start >= string(upper) {
			return 0, nil, nil, false
		}
		left = []byte(start)
	} else {
		left = lower
	}
	lc, lb := len(c.chunks), 0
	if upper != nil {
		lc, lb = c.at(upper)
		right = []byte(c.chunks[lc].starts[lb])
	}
	for fc < lc || fc == lc && fb < lb {
		ch := c.chunks[fc]
		switch {
		case fb == 0 && fc < lc:
			inner += ch.sum
			fc++
		case fc < lc:
			for _, n := range ch.live[fb:] {
				inner += n
			}
			fc, fb = fc+1, 0
		default:
			inner += ch.live[fb]
			fb++
		}
	}
	return inner, left, right, true
}

// atMost returns the number of keys in the blocks that overlap [lower, upper) (upper nil: no end).
func (c *counts) atMost(lower, upper []byte) (n int64) {
	first, block := c.at(lower)
	for _, live := range c.chunks[first].live[:block] {
		n -= live
	}
	last, block := len(c.chunks), 0
	if upper != nil {
		last, block = c.at(upper)
		if c.chunks[last].starts[block] < string(upper) {
			block++
		}
		for _, live := range c.chunks[last].live[:block] {
			n += live
		}
	}
	for _, ch := range c.chunks[first:last] {
		n += ch.sum
	}
	return n
}

// loadCounts reads the index from table n.
func loadCounts(db *storage.Store) (*counts, error) {
	c := &counts{}
	it := db.NewIter([]byte{byte(storage.TableCounts)}, []byte{byte(storage.TableCounts) + 1})
	ch := &countChunk{}
	for ok := it.First(); ok; ok = it.Next() {
		d := codec.NewReader(it.Value())
		n := d.Uvarint()
		if err := d.Err(); err != nil {
			err = fmt.Errorf("%w: count block %q: %w", ErrCorrupt, head(it.Key()), err)
			return nil, errors.Join(err, it.Close())
		}
		if len(ch.starts) == chunkSplit/2 {
			c.chunks = append(c.chunks, ch)
			ch = &countChunk{}
		}
		ch.starts = append(ch.starts, string(it.Key()[1:]))
		ch.live = append(ch.live, int64(n))
		ch.sum += int64(n)
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	if len(ch.starts) == 0 {
		ch = &countChunk{starts: []string{""}, live: []int64{0}}
	}
	c.chunks = append(c.chunks, ch)
	if c.chunks[0].starts[0] != "" {
		return nil, fmt.Errorf("%w: count index starts at %q", ErrCorrupt, c.chunks[0].starts[0])
	}
	return c, nil
}

// countsEdit builds the next state of the index during one batch.
type countsEdit struct {
	counts
	copied  bool                 // the slice chunks is owned and may be modified
	owned   map[*countChunk]bool // chunks that are owned and may be modified
	dirty   map[string]struct{}  // first keys of the blocks to store
	removed map[string]struct{}  // first keys of blocks to delete
	grown   map[string]struct{}  // first keys of blocks to divide, kept across batches
}

// begin starts from a published state.
func (e *countsEdit) begin(c *counts) {
	e.counts = *c
	e.copied = false
	if e.owned == nil {
		e.owned = make(map[*countChunk]bool)
		e.dirty, e.removed = make(map[string]struct{}), make(map[string]struct{})
		e.grown = make(map[string]struct{})
	}
	clear(e.owned)
	clear(e.dirty)
	clear(e.removed)
}

// own copies chunk i unless it is owned.
func (e *countsEdit) own(i int) *countChunk {
	ch := e.chunks[i]
	if e.owned[ch] {
		return ch
	}
	if !e.copied {
		e.chunks, e.copied = slices.Clone(e.chunks), true
	}
	ch = &countChunk{starts: slices.Clone(ch.starts), live: slices.Clone(ch.live), sum: ch.sum}
	e.chunks[i] = ch
	e.owned[ch] = true
	return ch
}

// add counts a created key (delta 1) or a deleted one (delta -1).
func (e *countsEdit) add(key []byte, delta int64) {
	i, b := e.at(key)
	ch := e.own(i)
	ch.live[b] += delta
	ch.sum += delta
	e.dirty[ch.starts[b]] = struct{}{}
	switch {
	case ch.live[b] > blockSplitKeys:
		e.grown[ch.starts[b]] = struct{}{}
	case delta < 0 && ch.live[b] < blockMergeKeys:
		// Check both neighbours: keys may be deleted from either end.
		if b+1 < len(ch.live) && ch.live[b+1] < blockMergeKeys {
			e.merge(i, b+1)
		}
		if b > 0 && ch.live[b-1] < blockMergeKeys && ch.live[b] < blockMergeKeys {
			e.merge(i, b)
		}
	}
}

// merge merges block b of chunk i into the block before it in the chunk.
func (e *countsEdit) merge(i, b int) {
	ch := e.own(i)
	ch.live[b-1] += ch.live[b]
	gone := ch.starts[b]
	delete(e.dirty, gone)
	delete(e.grown, gone)
	e.removed[gone] = struct{}{}
	e.dirty[ch.starts[b-1]] = struct{}{}
	ch.starts = slices.Delete(ch.starts, b, b+1)
	ch.live = slices.Delete(ch.live, b, b+1)
}

// divide divides the grown blocks. It runs before the first command of a batch, when the index
// matches what walk reads. walk calls its argument with the live keys of [lower, upper) in order.
func (e *countsEdit) divide(walk func(lower, upper []byte, live func(key []byte)) error) error {
	for start := range e.grown {
		delete(e.grown, start)
		i, b := e.at([]byte(start))
		if e.chunks[i].starts[b] != start || e.chunks[i].live[b] <= blockSplitKeys {
			continue
		}
		var upper []byte
		if _, _, next, ok := e.after(i, b); ok {
			upper = []byte(next)
		}
		starts, live := []string{start}, []int64{0}
		err := walk([]byte(start), upper, func(key []byte) {
			last := len(live) - 1
			if live[last] == blockTargetKeys {
				starts, live = append(starts, string(key)), append(live, 0)
				last++
			}
			live[last]++
		})
		if err != nil {
			return fmt.Errorf("divide count block %q: %w", start, err)
		}
		ch := e.own(i)
		sum := -ch.live[b]
		for j, n := range live {
			sum += n
			e.dirty[starts[j]] = struct{}{}
			delete(e.removed, starts[j])
		}
		ch.starts = slices.Replace(ch.starts, b, b+1, starts...)
		ch.live = slices.Replace(ch.live, b, b+1, live...)
		ch.sum += sum
		e.divideChunk(i)
	}
	return nil
}

// divideChunk halves chunk i until the pieces are small enough to copy.
func (e *countsEdit) divideChunk(i int) {
	ch := e.own(i)
	if len(ch.starts) <= chunkSplit {
		return
	}
	half := len(ch.starts) / 2
	right := &countChunk{starts: slices.Clone(ch.starts[half:]), live: slices.Clone(ch.live[half:])}
	for _, n := range right.live {
		right.sum += n
	}
	ch.starts, ch.live, ch.sum = ch.starts[:half:half], ch.live[:half:half], ch.sum-right.sum
	e.chunks = slices.Insert(e.chunks, i+1, right)
	e.owned[right] = true
	e.divideChunk(i + 1)
	e.divideChunk(i)
}

// check checks the order and the sums of the chunks that this batch has changed.
func (e *countsEdit) check() {
	invariant.Check(e.chunks[0].starts[0] == "", "the count index starts at %q", e.chunks[0].starts[0])
	last := ""
	for i, ch := range e.chunks {
		if e.owned[ch] {
			sum := int64(0)
			for b, start := range ch.starts {
				invariant.Check(start > last || i == 0 && b == 0, "count block %q follows %q", start, last)
				last = start
				sum += ch.live[b]
			}
			invariant.Check(sum == ch.sum, "a chunk of the count index has %d keys, its blocks %d", ch.sum, sum)
		}
		last = ch.starts[len(ch.starts)-1]
	}
}

// store writes the changed blocks to the batch and returns the new state.
func (e *countsEdit) store(b *storage.Batch) (*counts, error) {
	if invariant.Enabled {
		e.check()
	}
	var key, value []byte
	for start := range e.removed {
		key = append(append(key[:0], byte(storage.TableCounts)), start...)
		if err := b.Remove(key); err != nil {
			return nil, err
		}
	}
	for start := range e.dirty {
		i, blk := e.at([]byte(start))
		key = append(append(key[:0], byte(storage.TableCounts)), start...)
		value = binary.AppendUvarint(value[:0], uint64(e.chunks[i].live[blk]))
		if err := b.Append(key, value); err != nil {
			return nil, err
		}
	}
	return &counts{chunks: e.chunks}, nil
}

// inRange reports whether key is in [lower, upper); upper nil means no end.
func inRange(key, lower, upper []byte) bool {
	return bytes.Compare(key, lower) >= 0 && (upper == nil || bytes.Compare(key, upper) < 0)
}
