package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSorter: records come back by key, and those of one key in the order of their addition, from
// memory as well as from files, which Close removes.
func TestSorter(t *testing.T) {
	for _, runBytes := range []int{64, 4 << 10, 1 << 20} {
		fs := NewCrashableFS()
		s := NewSorter(fs, "sorted")
		s.runBytes = runBytes
		rng := rand.New(rand.NewPCG(1, uint64(runBytes)))
		var want []string
		for i := range 2000 {
			key := strings.Repeat("k", rng.IntN(3)) + fmt.Sprint(rng.IntN(300))
			value := fmt.Sprintf("%06d", i)
			want = append(want, key+"\x00"+value)
			if err := s.Add([]byte(key), []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(want)
		if err := s.Sort(); err != nil {
			t.Fatal(err)
		}
		if files := len(s.runs); (files > 1) != (runBytes < 1<<20) {
			t.Errorf("runs of %d bytes: %d files", runBytes, files)
		}
		var got []string
		for s.Next() {
			got = append(got, string(s.Key())+"\x00"+string(s.Value()))
		}
		if err := s.Err(); err != nil || !slices.Equal(got, want) {
			t.Errorf("runs of %d bytes: %d records, %v; want %d in order", runBytes, len(got), err, len(want))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if names, err := fs.List("sorted"); err == nil {
			t.Errorf("runs of %d bytes: Close left %v", runBytes, names)
		}
	}
}

// TestSorterEmpty: a sorter without records has none.
func TestSorterEmpty(t *testing.T) {
	s := NewSorter(NewCrashableFS(), "sorted")
	if err := s.Sort(); err != nil || s.Next() {
		t.Errorf("an empty sorter has a record, or %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
