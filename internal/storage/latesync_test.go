package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLateSync: a store on LateSync has everything after a power failure behind Finish, and more
// tables than wait for their sync.
func TestLateSync(t *testing.T) {
	disk := NewCrashableFS()
	late := NewLateSync(disk)
	s, err := OpenState("state", Options{FS: late, Bulk: true})
	if err != nil {
		t.Fatal(err)
	}
	const n = lateFiles + 20
	for i := range n {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "k%d", i), []byte("v"))
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := late.Finish(); err != nil {
		t.Fatal(err)
	}
	s, err = OpenState("state", Options{FS: disk.Crash(0, rand.New(rand.NewPCG(1, 1))), MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		if v, err := s.Get(fmt.Appendf(nil, "k%d", i), nil); err != nil || string(v) != "v" {
			t.Fatalf("k%d: %q, %v", i, v, err)
		}
	}
}
