package mvcc

import (
	"bytes"
	"errors"

	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// recent caches the most recently written values of table c. Every put needs the version that it
// replaces, and recently written keys tend to be written again; a hit saves a lookup in the store.
//
// It has two generations: when the young one is full it becomes the old one, and the previous old
// one is dropped. A hit in the old generation moves the value to the young one.
//
// Invariant: a cached value equals the value in table c, or is a tombstone that a sweep has removed
// from there. In builds with the tag invariants, Writer.checkRecent checks it at each hit.
type recent struct {
	young, old generation
	bytes      int // of the young generation
	bytesMax   int // of a generation
}

// generation has values by their keys. The map has indexes into values, so that replacing the value
// of a present key does not copy the key.
type generation struct {
	at     map[string]int
	values [][]byte
}

func (g *generation) get(key []byte) ([]byte, bool) {
	i, ok := g.at[string(key)]
	if !ok {
		return nil, false
	}
	return g.values[i], g.values[i] != nil
}

// put sets the value of a key; nil means that there is none.
func (g *generation) put(key, value []byte) {
	if i, ok := g.at[string(key)]; ok {
		g.values[i] = value
	} else if value != nil {
		g.at[string(key)] = len(g.values)
		g.values = append(g.values, value)
	}
}

// recentBytesMax limits a generation: keys, values and the map's overhead.
const (
	recentBytesMax      = 24 << 20
	recentOverheadBytes = 64
	recentValueBytesMax = 64 << 10 // largest value that is cached
)

func (r *recent) get(key []byte) ([]byte, bool) {
	if v, ok := r.young.get(key); ok {
		return v, true
	}
	v, ok := r.old.get(key)
	if ok {
		r.put(key, v)
	}
	return v, ok
}

// put caches a value, which must not change afterwards.
func (r *recent) put(key, value []byte) {
	if len(value) > recentValueBytesMax {
		r.young.put(key, nil)
		r.old.put(key, nil)
		return
	}
	if r.young.at == nil || r.bytes > r.bytesMax {
		r.young, r.old, r.bytes = generation{at: make(map[string]int)}, r.young, 0
	}
	r.bytes += len(key) + len(value) + recentOverheadBytes
	r.young.put(key, value)
}

// checkRecent checks a value that was found against table c.
func (w *Writer) checkRecent(key, cached []byte) {
	stored, closer, err := w.b.Lend(key)
	if errors.Is(err, storage.ErrNotFound) {
		n, err := decodeNode(cached)
		invariant.Check(err == nil && n.Deleted && n.Mod.Main <= w.head.CompactRevision, "key %q: remembered %x, stored nothing: %v", key, cached, err)
		return
	}
	invariant.Check(err == nil && bytes.Equal(stored, cached), "key %q: remembered %x, stored %x: %v", key, cached, stored, err)
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	invariant.Check(err == nil, "key %q: %v", key, err)
}
