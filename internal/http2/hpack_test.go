package http2

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// FuzzHPACK compares the decoder with golang.org/x/net's over a series of blocks that share one
// dynamic table.
func FuzzHPACK(f *testing.F) {
	var blk bytes.Buffer
	enc := hpack.NewEncoder(&blk)
	for i := range 3 {
		enc.WriteField(hpack.HeaderField{Name: ":path", Value: "/a/b"})
		enc.WriteField(hpack.HeaderField{Name: "grpc-timeout", Value: strings.Repeat("9", i+1) + "m"})
		enc.WriteField(hpack.HeaderField{Name: "token", Value: "secret", Sensitive: true})
	}
	f.Add(blk.Bytes(), []byte{0xbe, 0xbf, 0xc0})
	f.Add([]byte{0x3f, 0xe1, 0x1f, 0x20, 0x82}, []byte{0x20, 0x40, 1, 'a', 1, 'b'})
	f.Add([]byte{0x40, 0x82, 0xff, 0xff, 0}, []byte{0x0f, 0x10, 0x83, 1, 2, 3})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ours := newHPACKDecoder()
		var want []hpack.HeaderField
		theirs := hpack.NewDecoder(headerTableSize, func(f hpack.HeaderField) { want = append(want, f) })
		for _, block := range [][]byte{a, b} {
			want = nil
			_, errTheirs := theirs.Write(block)
			if err := theirs.Close(); errTheirs == nil {
				errTheirs = err
			}
			got, err := ours.decode(nil, block, 1<<30)
			if errors.Is(err, errLateUpdate) {
				return // x/net accepts it while the table is empty
			}
			if (err == nil) != (errTheirs == nil) {
				t.Fatalf("block %x: ours %v, theirs %v", block, err, errTheirs)
			}
			if err != nil {
				return
			}
			if len(got) != len(want) {
				t.Fatalf("block %x: %v, want %v", block, got, want)
			}
			for i := range got {
				if got[i].Name != want[i].Name || got[i].Value != want[i].Value {
					t.Fatalf("block %x: %v, want %v", block, got, want)
				}
			}
		}
	})
}
