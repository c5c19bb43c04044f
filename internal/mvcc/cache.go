package mvcc

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// cache is the cache of recent values of table c (see recent), which the writer and the readers
// share. Both find values in it. The writer puts the values of a batch after the commit and before
// it publishes the head, and a reader adds the value that it has read from the store.
//
// So a cached value is what table c had at the newest published head, or a newer one of a batch
// that is committed already: reads treat both as they treat table c itself. A reader must not add a
// value that the writer has replaced meanwhile; fill therefore ignores values that were read before
// the last put.
type cache struct {
	mu     sync.Mutex
	recent recent
	// suspended is set while table c changes by other ways than put: then the cache is empty.
	suspended bool
	// changes counts the calls of put and suspend, offers those of fill since the cache is full.
	changes, offers uint64
}

// fillEvery is how many values readers offer for each that is added once the cache is full, so that
// reads of many different keys do not cost a copy each and displace what is used often.
const fillEvery = 16

// get appends the value of a key to dst. Without one it returns the point at which fill may add the
// value that the caller then reads from the store.
func (c *cache) get(dst, key []byte) (value []byte, ok bool, at uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.recent.get(key)
	return append(dst, b...), ok, c.changes
}

// put replaces the value of a key. Only the writer calls it.
func (c *cache) put(key, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	if !c.suspended {
		c.recent.put(key, value)
	}
}

// fill adds a value that was read from table c after get, which returned at.
func (c *cache) fill(key, value []byte, at uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspended || c.changes != at {
		return
	}
	if c.recent.full() {
		if c.offers++; c.offers%fillEvery != 0 {
			return
		}
	}
	c.recent.put(key, value)
}

// suspend empties the cache, and keeps it empty while suspended is set.
func (c *cache) suspend(suspended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspended || suspended {
		c.recent = recent{bytesMax: c.recent.bytesMax}
	}
	c.suspended = suspended
	c.changes++
}

// limit sets how many bytes the cache may take, before its first use.
func (c *cache) limit(bytes int) { c.recent.bytesMax = bytes }

// cachedValue is a copy of a cached value, lent to a reader.
type cachedValue struct {
	b    []byte
	lent bool
}

var cachedValues = sync.Pool{New: func() any { return new(cachedValue) }}

// Close implements io.Closer.
func (v *cachedValue) Close() error {
	invariant.Check(v.lent, "a cached value was closed twice")
	v.lent = false
	cachedValues.Put(v)
	return nil
}

func (s *Store) lend(key []byte) ([]byte, io.Closer, error) {
	if key[0] != byte(storage.TableCurrent) {
		return s.db.Lend(key)
	}
	var before storeState
	if invariant.Enabled {
		before = s.state()
	}
	v := cachedValues.Get().(*cachedValue)
	var ok bool
	var at uint64
	if v.b, ok, at = s.cache.get(v.b[:0], key[1:]); ok {
		if invariant.Enabled {
			s.checkCached(key, v.b, before)
		}
		v.lent = true
		return v.b, v, nil
	}
	cachedValues.Put(v)
	b, closer, err := s.db.Lend(key)
	if err == nil {
		s.cache.fill(key[1:], b, at)
	}
	return b, closer, err
}

// storeState is what checkCached needs of the store as it was before the look at the cache.
type storeState struct {
	published    int64 // revision
	replacements uint64
}

func (s *Store) state() storeState { return storeState{s.head.Load().Revision, s.replacements.Load()} }

// checkCached checks a value that a reader has found in the cache against table c. Table c may have
// a newer value, but only one that was not published before.
func (s *Store) checkCached(key, cached []byte, before storeState) {
	c, err := decodeRecord(cached)
	invariant.Check(err == nil, "key %q: cached %x: %v", key, cached, err)
	stored, err := s.db.Get(key, nil)
	switch {
	case errors.Is(err, storage.ErrClosed), s.replacing.Load() != nil, s.replacements.Load() != before.replacements:
		return
	case errors.Is(err, storage.ErrNotFound):
		invariant.Check(c.Deleted, "key %q: cached %x, stored nothing", key, cached)
		return
	}
	invariant.Check(err == nil, "key %q: %v", key, err)
	t, err := decodeRecord(stored)
	invariant.Check(err == nil, "key %q: stored %x: %v", key, stored, err)
	if t.Mod == c.Mod {
		invariant.Check(bytes.Equal(stored, cached), "key %q: cached %x, stored %x", key, cached, stored)
	} else {
		invariant.Check(c.Mod.Less(t.Mod) && t.Mod.Main > before.published,
			"key %q: cached as of %v, stored as of %v, published %d", key, c.Mod, t.Mod, before.published)
	}
}

// checkCached checks a value that the writer has found in the cache against table c.
func (w *Writer) checkCached(key, cached []byte) {
	stored, err := w.s.db.Get(key, nil)
	if errors.Is(err, storage.ErrNotFound) {
		n, err := decodeNode(cached)
		invariant.Check(err == nil && n.Deleted && n.Mod.Main <= w.head.CompactRevision, "key %q: remembered %x, stored nothing: %v", key, cached, err)
		return
	}
	invariant.Check(err == nil && bytes.Equal(stored, cached), "key %q: remembered %x, stored %x: %v", key, cached, stored, err)
}
