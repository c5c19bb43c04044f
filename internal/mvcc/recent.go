package mvcc

// recent remembers the values of table c that were written last. Every put has to
// know the version that it replaces, and keys that are written are written again: what
// is found here need not be searched for in the store.
//
// It holds two generations: when the young one is full it becomes the old one, and
// what was old is forgotten. A value that is found in the old one is young again.
//
// Invariant: a value in it is what table c holds.
type recent struct {
	young, old map[string][]byte
	bytes      int // of the young one
}

// recentBytesMax bounds a generation, by keys, values and what a map spends on them.
const (
	recentBytesMax      = 24 << 20
	recentOverheadBytes = 64
	recentValueBytesMax = 64 << 10 // of a value that is remembered
)

func (r *recent) get(key []byte) ([]byte, bool) {
	if v, ok := r.young[string(key)]; ok {
		return v, true
	}
	v, ok := r.old[string(key)]
	if ok {
		r.put(key, v)
	}
	return v, ok
}

// put remembers a value, which must not change any more.
func (r *recent) put(key, value []byte) {
	if len(value) > recentValueBytesMax {
		delete(r.young, string(key))
		delete(r.old, string(key))
		return
	}
	if r.young == nil || r.bytes > recentBytesMax {
		r.young, r.old, r.bytes = make(map[string][]byte), r.young, 0
	}
	r.bytes += len(key) + len(value) + recentOverheadBytes
	r.young[string(key)] = value
}
