package kv_test

import (
	"fmt"

	"cairn/internal/kv"
)

// An empty End selects one key, a zero byte all keys from Key on.
func ExampleKeyRange() {
	for _, r := range []kv.KeyRange{
		{Key: []byte("/a/b")},
		{Key: []byte("/a/"), End: []byte("/a0")}, // the prefix /a/
		{Key: []byte("/a/"), End: []byte{0}},
	} {
		fmt.Println(r.Contains([]byte("/a/b")), r.Contains([]byte("/a/c")), r.Contains([]byte("/z")))
	}
	// Output:
	// true false false
	// true true false
	// true true true
}
