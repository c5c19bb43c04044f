package check

import "hash/fnv"

// tree is an immutable sorted map: with and without return another one, which shares equal
// subtrees. So the states of all revisions can be kept. It is a treap whose priorities are the
// keys' hashes: equal maps have equal shapes.
type tree[V any] struct {
	key         string
	value       V
	priority    uint32
	size        int
	left, right *tree[V]
}

func priorityOf(key string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(key)) //nolint:errcheck // never fails
	return h.Sum32()
}

func (t *tree[V]) len() int {
	if t == nil {
		return 0
	}
	return t.size
}

func (t *tree[V]) get(key string) (v V, ok bool) {
	for t != nil {
		switch {
		case key == t.key:
			return t.value, true
		case key < t.key:
			t = t.left
		default:
			t = t.right
		}
	}
	return v, false
}

// node returns a copy of t with other children.
func (t *tree[V]) node(left, right *tree[V]) *tree[V] {
	return &tree[V]{t.key, t.value, t.priority, left.len() + right.len() + 1, left, right}
}

// split returns the entries before key and those after it; key itself is left out.
func (t *tree[V]) split(key string) (before, after *tree[V]) {
	switch {
	case t == nil:
		return nil, nil
	case t.key == key:
		return t.left, t.right
	case t.key < key:
		b, a := t.right.split(key)
		return t.node(t.left, b), a
	default:
		b, a := t.left.split(key)
		return b, t.node(a, t.right)
	}
}

// join merges a and b; all keys of a are before those of b.
func join[V any](a, b *tree[V]) *tree[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority || a.priority == b.priority && a.key < b.key:
		return a.node(a.left, join(a.right, b))
	default:
		return b.node(join(a, b.left), b.right)
	}
}

func (t *tree[V]) with(key string, v V) *tree[V] {
	before, after := t.split(key)
	return join(join(before, &tree[V]{key, v, priorityOf(key), 1, nil, nil}), after)
}

func (t *tree[V]) without(key string) *tree[V] {
	if _, ok := t.get(key); !ok {
		return t
	}
	before, after := t.split(key)
	return join(before, after)
}

// walk visits the entries from start on, in order, until visit returns false.
func (t *tree[V]) walk(start string, visit func(key string, v V) bool) bool {
	if t == nil {
		return true
	}
	if t.key >= start {
		if !t.left.walk(start, visit) || !visit(t.key, t.value) {
			return false
		}
	}
	return t.right.walk(start, visit)
}

// equalTrees compares two maps; shared subtrees cost nothing.
func equalTrees[V comparable](a, b *tree[V]) bool {
	switch {
	case a == b:
		return true
	case a == nil || b == nil || a.size != b.size || a.key != b.key || a.value != b.value:
		return false
	default:
		return equalTrees(a.left, b.left) && equalTrees(a.right, b.right)
	}
}
