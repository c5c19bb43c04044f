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
	young, old generation
	bytes      int // of the young one
}

// generation has values by their keys. The map holds where in values: so a key that is there
// already gets another value without being copied.
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

// put gives a key a value; nil is none.
func (g *generation) put(key, value []byte) {
	if i, ok := g.at[string(key)]; ok {
		g.values[i] = value
	} else if value != nil {
		g.at[string(key)] = len(g.values)
		g.values = append(g.values, value)
	}
}

// recentBytesMax bounds a generation, by keys, values and what a map spends on them.
const (
	recentBytesMax      = 24 << 20
	recentOverheadBytes = 64
	recentValueBytesMax = 64 << 10 // of a value that is remembered
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

// put remembers a value, which must not change any more.
func (r *recent) put(key, value []byte) {
	if len(value) > recentValueBytesMax {
		r.young.put(key, nil)
		r.old.put(key, nil)
		return
	}
	if r.young.at == nil || r.bytes > recentBytesMax {
		r.young, r.old, r.bytes = generation{at: make(map[string]int)}, r.young, 0
	}
	r.bytes += len(key) + len(value) + recentOverheadBytes
	r.young.put(key, value)
}
