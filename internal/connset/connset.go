// Package connset owns the set of connections that a server has open, and how the set drains when
// the server stops: no further connection enters it, and Drained is closed when the last one has
// left.
//
// It does not own the connections: packages http1 and http2 say how one of theirs ends.
//
// Invariant: after Stop the set only shrinks (TestStop).
//
// Concurrency: all methods may be called from any goroutine.
package connset

import (
	"sync"
	"sync/atomic"
)

// Set is a set of open connections.
type Set[C comparable] struct {
	stopping atomic.Bool
	drained  chan struct{}

	mu    sync.Mutex // guards the fields below
	conns map[C]struct{}
	empty bool // drained is closed
}

// New returns an empty set.
func New[C comparable]() *Set[C] {
	return &Set[C]{drained: make(chan struct{}), conns: make(map[C]struct{})}
}

// Add puts a connection into the set. It reports false, and does nothing, after Stop.
func (s *Set[C]) Add(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// Remove takes a connection out of the set, if it is there.
func (s *Set[C]) Remove(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.closeIfDrained()
}

// Stop keeps further connections out.
func (s *Set[C]) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	s.closeIfDrained()
}

// closeIfDrained closes drained once Stop was called and the set is empty. s.mu is held.
func (s *Set[C]) closeIfDrained() {
	if s.stopping.Load() && len(s.conns) == 0 && !s.empty {
		s.empty = true
		close(s.drained)
	}
}

// Stopping reports whether Stop was called. It takes no lock.
func (s *Set[C]) Stopping() bool { return s.stopping.Load() }

// Drained is closed when Stop was called and no connection is left.
func (s *Set[C]) Drained() <-chan struct{} { return s.drained }

// AppendAll appends the connections that are in the set, in no order.
func (s *Set[C]) AppendAll(dst []C) []C {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		dst = append(dst, c)
	}
	return dst
}
