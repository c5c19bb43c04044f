package mvcc

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"cairn/internal/invariant"
)

// recent holds the most recently written and read values of table c, see cache. Every put needs the
// version that it replaces, and keys that were used tend to be used again; a hit saves a lookup in
// the store.
//
// The entries are in chunks of bytes, and the index by key has hashes and positions only, so that
// the garbage collector has nothing to scan. A new value of a present key takes the place of the
// old one when it fits. Otherwise entries are written one after another; when all chunks are full,
// the next chunk is written again from its start, and the entries in the way are removed, oldest
// first. An entry that was used since it was written, or since it was spared, is spared once: it
// moves to where the next entry is written. Memory is taken chunk by chunk, as it is needed.
//
// Invariant: a cached value equals the value in table c, or is a tombstone that a sweep has removed
// from there, or will be replaced before the head with its successor is published. In builds with
// the tag invariants, checkCached checks it at each hit.
type recent struct {
	bytesMax int // of chunks and index together

	seed   maphash.Seed
	chunks [][]byte
	// In chunk current, the next entry is written at head, and the oldest entry that is left begins
	// at tail. Nothing is between the two. In the chunks after it, all of which are older, entries
	// fill the chunk up to its end or to a zero length.
	current, head, tail int
	index               recentIndex
}

const (
	recentBytesMax      = 48 << 20 // bytesMax unless LimitCache is called
	recentValueBytesMax = 32 << 10 // largest value, and key, that is cached
	recentChunkBytes    = 1 << 20
	recentAlign         = 16
	// recentSparesMax bounds the entries that one put moves.
	recentSparesMax = 16
)

// An entry is its size (4 bytes, with its head, a multiple of recentAlign), the lengths of key and
// value (2 each), the hash of its key (4), its state (4), key, value.
const (
	entryHead = 16

	entryDead = 0 // not in the index
	entryLive = 1
	entryUsed = 2 // live, and used since it was written or spared
)

func entrySize(key, value []byte) int {
	return (entryHead + len(key) + len(value) + recentAlign - 1) &^ (recentAlign - 1)
}

// entry is the bytes from the beginning of an entry on.
type entry []byte

func (e entry) size() int   { return int(binary.LittleEndian.Uint32(e)) }
func (e entry) keyLen() int { return int(binary.LittleEndian.Uint16(e[4:])) }
func (e entry) key() []byte { return e[entryHead : entryHead+e.keyLen()] }
func (e entry) value() []byte {
	from := entryHead + e.keyLen()
	return e[from : from+int(binary.LittleEndian.Uint16(e[6:]))]
}
func (e entry) hash() uint32    { return binary.LittleEndian.Uint32(e[8:]) }
func (e entry) state() byte     { return e[12] }
func (e entry) setState(s byte) { e[12] = s }

func (e entry) set(size int, hash uint32, key, value []byte) {
	binary.LittleEndian.PutUint32(e, uint32(size))
	binary.LittleEndian.PutUint16(e[4:], uint16(len(key)))
	binary.LittleEndian.PutUint16(e[6:], uint16(len(value)))
	binary.LittleEndian.PutUint32(e[8:], hash)
	copy(e[entryHead:], key)
	copy(e[entryHead+len(key):], value)
}

// at returns the entry at a position: the number of units of recentAlign from the first chunk on.
func (r *recent) at(position uint32) entry {
	offset := int(position) * recentAlign
	return entry(r.chunks[offset/recentChunkBytes][offset%recentChunkBytes:])
}

func (r *recent) position(chunk, offset int) uint32 {
	return uint32((chunk*recentChunkBytes + offset) / recentAlign)
}

// find returns the entry of a key, nil when there is none, and its slot in the index.
func (r *recent) find(hash uint32, key []byte) (entry, int) {
	for slot := r.index.first(hash); ; slot = r.index.next(slot) {
		h, position, ok := r.index.get(slot)
		if !ok {
			return nil, 0
		}
		if h == hash {
			if e := r.at(position); bytes.Equal(e.key(), key) {
				return e, slot
			}
		}
	}
}

// get returns the value of a key. It is valid until the next put.
func (r *recent) get(key []byte) ([]byte, bool) {
	if r.index.n == 0 {
		return nil, false
	}
	e, _ := r.find(uint32(maphash.Bytes(r.seed, key)), key)
	if e == nil {
		return nil, false
	}
	e.setState(entryUsed)
	return e.value(), true
}

// put caches a copy of a value.
func (r *recent) put(key, value []byte) {
	if r.chunks == nil {
		if r.bytesMax < 2*recentChunkBytes {
			return
		}
		r.seed = maphash.MakeSeed()
		r.chunks = [][]byte{make([]byte, recentChunkBytes)}
		r.tail = recentChunkBytes
		r.index.grow()
	}
	hash := uint32(maphash.Bytes(r.seed, key))
	fits := len(key) <= recentValueBytesMax && len(value) <= recentValueBytesMax
	if e, slot := r.find(hash, key); e != nil {
		if size := e.size(); fits && entryHead+len(key)+len(value) <= size {
			e.set(size, hash, key, value)
			e.setState(entryUsed)
			return
		}
		e.setState(entryDead)
		r.index.remove(slot)
	}
	if !fits {
		return
	}
	size := entrySize(key, value)
	r.makeRoom(size)
	e := entry(r.chunks[r.current][r.head:])
	e.set(size, hash, key, value)
	e.setState(entryLive)
	r.index.add(hash, r.position(r.current, r.head))
	r.head += size
}

// makeRoom makes size bytes free between head and tail.
func (r *recent) makeRoom(size int) {
	for spared := 0; r.tail-r.head < size; {
		if r.tail == recentChunkBytes {
			r.nextChunk()
			continue
		}
		e := entry(r.chunks[r.current][r.tail:])
		n := e.size()
		if n == 0 {
			r.tail = recentChunkBytes // the chunk's last entry ended before its end
			continue
		}
		from := r.position(r.current, r.tail)
		r.tail += n
		switch {
		case e.state() == entryDead:
		case e.state() == entryUsed && spared < recentSparesMax:
			spared++
			e.setState(entryLive)
			r.index.move(e.hash(), from, r.position(r.current, r.head))
			copy(r.chunks[r.current][r.head:], e[:n])
			r.head += n
		default:
			r.index.drop(e.hash(), from)
		}
	}
}

// full reports whether all memory is taken: from now on, new entries replace old ones.
func (r *recent) full() bool {
	return (len(r.chunks)+1)*recentChunkBytes+r.index.bytes() > r.bytesMax
}

// nextChunk ends the current chunk, and continues with a new one, or else with the oldest.
func (r *recent) nextChunk() {
	if r.head < recentChunkBytes {
		binary.LittleEndian.PutUint32(r.chunks[r.current][r.head:], 0)
	}
	r.head, r.tail = 0, 0
	if !r.full() {
		// Behind the last chunk, so that the next one remains the oldest.
		r.chunks = append(r.chunks, make([]byte, recentChunkBytes))
		r.current, r.tail = len(r.chunks)-1, recentChunkBytes
		return
	}
	if r.current++; r.current == len(r.chunks) {
		r.current = 0
	}
}

// recentIndex is a hash table with open addressing: hash and position of each entry.
type recentIndex struct {
	slots []uint64 // hash << 32 | position + 1; 0 is free
	n     int
}

func (x *recentIndex) bytes() int             { return 8 * len(x.slots) }
func (x *recentIndex) first(hash uint32) int  { return int(hash) & (len(x.slots) - 1) }
func (x *recentIndex) next(slot int) int      { return (slot + 1) & (len(x.slots) - 1) }
func recentSlot(hash, position uint32) uint64 { return uint64(hash)<<32 | uint64(position+1) }

func (x *recentIndex) get(slot int) (hash, position uint32, ok bool) {
	s := x.slots[slot]
	return uint32(s >> 32), uint32(s) - 1, s != 0
}

func (x *recentIndex) add(hash, position uint32) {
	if 4*(x.n+1) > 3*len(x.slots) {
		x.grow()
	}
	x.insert(recentSlot(hash, position))
	x.n++
}

func (x *recentIndex) insert(s uint64) {
	slot := x.first(uint32(s >> 32))
	for x.slots[slot] != 0 {
		slot = x.next(slot)
	}
	x.slots[slot] = s
}

func (x *recentIndex) grow() {
	old := x.slots
	x.slots = make([]uint64, max(1<<10, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			x.insert(s)
		}
	}
}

// slot returns the slot of an entry that is in the index.
func (x *recentIndex) slot(hash, position uint32) int {
	slot := x.first(hash)
	for want := recentSlot(hash, position); x.slots[slot] != want; slot = x.next(slot) {
		if x.slots[slot] == 0 {
			invariant.Violated("the entry at %d is not in the index", position)
		}
	}
	return slot
}

func (x *recentIndex) move(hash, from, to uint32) { x.slots[x.slot(hash, from)] = recentSlot(hash, to) }

func (x *recentIndex) drop(hash, position uint32) { x.remove(x.slot(hash, position)) }

// remove empties a slot, and moves entries that others had displaced towards their first slot.
func (x *recentIndex) remove(slot int) {
	x.n--
	mask := len(x.slots) - 1
	for at := x.next(slot); x.slots[at] != 0; at = x.next(at) {
		first := x.first(uint32(x.slots[at] >> 32))
		if (at-first)&mask >= (at-slot)&mask { // its way from first leads over slot
			x.slots[slot], slot = x.slots[at], at
		}
	}
	x.slots[slot] = 0
}
