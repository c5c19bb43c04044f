package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Tables compress values that this shortens, store others, and have the values that were added.
func TestTablesCompressWhatItShortens(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	tables, err := s.NewTables("tables")
	if err != nil {
		t.Fatal(err)
	}
	const values, valueBytes = 2000, 1 << 10
	rng := rand.NewChaCha8([32]byte{})
	want := map[string][]byte{}
	for _, prefix := range []string{"c", "d"} { // random values, then regular ones
		for i := range values {
			key, value := fmt.Sprintf("%s%06d", prefix, i), bytes.Repeat([]byte{byte(i)}, valueBytes)
			if prefix == "c" {
				rng.Read(value) //nolint:errcheck // never fails
			}
			want[key] = value
			if err := tables.Add([]byte(key), value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tables.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := tables.Bytes(); n < values*valueBytes || n > values*valueBytes*3/2 {
		t.Errorf("tables of %d bytes for %d random ones and as many regular ones", n, values*valueBytes)
	}
	if err := s.Replace(tables); err != nil {
		t.Fatal(err)
	}
	for key, value := range want {
		got, err := s.Get([]byte(key), nil)
		if err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%s: %d bytes, %v; want the value that was added", key, len(got), err)
		}
	}
}
