package storage

import (
	"math/rand/v2"
	"testing"
)

// TestSize: commits count when they are made, once, and also after they were flushed.
func TestSize(t *testing.T) {
	fs := NewCrashableFS()
	s, err := OpenState("state", Options{FS: fs, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	value := func() string { // not compressible
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	empty, _ := s.Size()
	written := uint64(0)
	check := func(when string) {
		t.Helper()
		total, inUse := s.Size()
		if grown := total - empty; grown < written || grown > written+written/2+30_000 {
			t.Errorf("%s: grown by %d, written %d", when, grown, written)
		}
		if inUse > total || inUse < written {
			t.Errorf("%s: %d in use of %d, written %d", when, inUse, total, written)
		}
	}
	for i := range 1000 { // memtables are flushed meanwhile
		commit(t, s, string(rune('a'+i%26))+string(rune(i)), value())
		written += 4096
		if i < 100 {
			check("in memory")
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	check("flushed")
	if memory := s.size.memory.Load(); memory != 0 || len(s.size.commits) != 0 {
		t.Errorf("%d bytes in memory after a flush", memory)
	}
	commit(t, s, "more", value())
	written += 4096
	check("in memory again")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if total, inUse := s.Size(); total != 0 || inUse != 0 {
		t.Errorf("of a closed store: %d, %d", total, inUse)
	}
}
