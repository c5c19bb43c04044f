package watch

import "strings"

// index finds the watchers of a key: those of the key alone in a map, those of ranges in a treap of
// intervals, in which each node has the highest end of its subtree (Cormen et al., "Interval
// trees"). Watchers of the same keys share an entry and are chained through Watcher.before and
// after, so a watcher is in one index at most.
type index struct {
	exact     map[string]*Watcher
	root      *interval
	intervals int
	seed      uint64
	n         int
}

// interval is a node of the treap: the watchers of [start, end), or of all from
// start on when endless is set.
type interval struct {
	span
	highest     bound // the highest end in the subtree
	priority    uint64
	left, right *interval
	head        *Watcher
}

// bound is the end of a range.
type bound struct {
	end     string
	endless bool
}

// beyond reports whether the bound is above key.
func (b bound) beyond(key string) bool { return b.endless || key < b.end }

func (b bound) max(o bound) bound {
	if b.endless || !o.endless && o.end <= b.end {
		return b
	}
	return o
}

// span is the key, or the range, that a watcher watches.
type span struct {
	start string
	bound
	single bool
}

// bytes returns the size of a watcher's keys.
func (s *span) bytes() int { return len(s.start) + len(s.end) }

// compare orders ranges by start and then by end.
func (s span) compare(o span) int {
	switch {
	case s.start != o.start:
		return strings.Compare(s.start, o.start)
	case s.endless != o.endless:
		if s.endless {
			return 1
		}
		return -1
	default:
		return strings.Compare(s.end, o.end)
	}
}

// add adds a watcher.
func (x *index) add(w *Watcher) {
	x.n++
	if w.span.single {
		if x.exact == nil {
			x.exact = make(map[string]*Watcher)
		}
		x.exact[w.span.start] = chain(x.exact[w.span.start], w)
		return
	}
	x.root = x.insert(x.root, w)
}

// chain puts w in front of the list that begins with head.
func chain(head, w *Watcher) *Watcher {
	w.before, w.after = nil, head
	if head != nil {
		head.before = w
	}
	return w
}

// unchain removes w from a list, and returns the new head.
func unchain(head, w *Watcher) *Watcher {
	if w.before != nil {
		w.before.after = w.after
	} else {
		head = w.after
	}
	if w.after != nil {
		w.after.before = w.before
	}
	w.before, w.after = nil, nil
	return head
}

// remove removes a watcher, which must be in the index.
func (x *index) remove(w *Watcher) {
	x.n--
	if w.span.single {
		if head := unchain(x.exact[w.span.start], w); head != nil {
			x.exact[w.span.start] = head
		} else {
			delete(x.exact, w.span.start)
		}
		return
	}
	x.root = x.without(x.root, w)
}

// match calls visit for the watchers of key. It must not change the index.
func (x *index) match(key []byte, visit func(*Watcher)) {
	for w := x.exact[string(key)]; w != nil; w = w.after {
		visit(w)
	}
	if x.root != nil {
		x.root.match(string(key), visit)
	}
}

func (n *interval) match(key string, visit func(*Watcher)) {
	for n != nil && n.highest.beyond(key) {
		n.left.match(key, visit)
		if n.start > key {
			return
		}
		if n.beyond(key) {
			for w := n.head; w != nil; w = w.after {
				visit(w)
			}
		}
		n = n.right
	}
}

// random returns the next priority: xorshift64 with a fixed seed, since the shape of the treap must
// depend only on the watchers added.
func (x *index) random() uint64 {
	if x.seed == 0 {
		x.seed = 0x9E3779B97F4A7C15
	}
	x.seed ^= x.seed << 13
	x.seed ^= x.seed >> 7
	x.seed ^= x.seed << 17
	return x.seed
}

func (n *interval) update() *interval {
	n.highest = n.bound
	if n.left != nil {
		n.highest = n.highest.max(n.left.highest)
	}
	if n.right != nil {
		n.highest = n.highest.max(n.right.highest)
	}
	return n
}

func (x *index) insert(n *interval, w *Watcher) *interval {
	if n == nil {
		x.intervals++
		return (&interval{span: w.span, priority: x.random(), head: chain(nil, w)}).update()
	}
	switch order := w.span.compare(n.span); {
	case order == 0:
		n.head = chain(n.head, w)
	case order < 0:
		if n.left = x.insert(n.left, w); n.left.priority > n.priority {
			return n.rotateRight()
		}
	default:
		if n.right = x.insert(n.right, w); n.right.priority > n.priority {
			return n.rotateLeft()
		}
	}
	return n.update()
}

func (x *index) without(n *interval, w *Watcher) *interval {
	switch order := w.span.compare(n.span); {
	case order < 0:
		n.left = x.without(n.left, w)
	case order > 0:
		n.right = x.without(n.right, w)
	default:
		if n.head = unchain(n.head, w); n.head == nil {
			x.intervals--
			return join(n.left, n.right)
		}
	}
	return n.update()
}

// join merges two treaps; all ranges in left must be before those in right.
func join(left, right *interval) *interval {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.priority > right.priority:
		left.right = join(left.right, right)
		return left.update()
	default:
		right.left = join(left, right.left)
		return right.update()
	}
}

func (n *interval) rotateRight() *interval {
	l := n.left
	n.left, l.right = l.right, n
	n.update()
	return l.update()
}

func (n *interval) rotateLeft() *interval {
	r := n.right
	n.right, r.left = r.left, n
	n.update()
	return r.update()
}
