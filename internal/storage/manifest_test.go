package storage

import (
	"bytes"
	"testing"

	chunks "github.com/cockroachdb/pebble/v2/record"
)

// manifestOf returns a manifest with records, and the offset of each.
func manifestOf(t *testing.T, records ...[]byte) (manifest []byte, at []int) {
	t.Helper()
	var b bytes.Buffer
	w := chunks.NewWriter(&b)
	for _, r := range records {
		at = append(at, int(w.Size()))
		if _, err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), at
}

// TestManifestDamage: a record that cannot be read is damage if the next one can, wherever blocks
// end, and is torn otherwise: also when a client chose a key that looks like a record.
func TestManifestDamage(t *testing.T) {
	record := func(n int) []byte { return bytes.Repeat([]byte("r"), n) }
	like, _ := manifestOf(t, record(5))
	key := append(append(record(50), like...), record(50)...)
	const block = manifestBlock
	for name, c := range map[string]struct {
		records [][]byte
		damaged int // the number of the damaged record
		follows bool
	}{
		"the last":                         {[][]byte{record(9), record(200)}, 1, false},
		"the first":                        {[][]byte{record(9), record(200)}, 0, true},
		"one of several blocks":            {[][]byte{record(9), record(3 * block), record(200)}, 1, true},
		"before one of several blocks":     {[][]byte{record(200), record(3 * block)}, 0, true},
		"before the end of a block":        {[][]byte{record(200), record(block - 2*chunkHead - 200 - 3), record(40)}, 1, true},
		"the last, a key like a record":    {[][]byte{record(9), key}, 1, false},
		"another one, a key like a record": {[][]byte{key, record(9)}, 0, true},
	} {
		b, at := manifestOf(t, c.records...)
		b[at[c.damaged]+chunkHead] ^= 1
		if end := manifestEnd(b); end > at[c.damaged] {
			t.Fatalf("%s: the damaged record at %d is read, up to %d", name, at[c.damaged], end)
		}
		if got := recordFollows(b, manifestEnd(b)); got != c.follows {
			t.Errorf("%s: a record follows: %v, want %v", name, got, c.follows)
		}
	}
}
