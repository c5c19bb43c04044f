package storage

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// A filter of yieldingFilter has the bytes of the policy inside, so that tables of other versions
// are read, and read this version's.
func TestYieldingFilterIsThePolicyInside(t *testing.T) {
	policy := bloom.FilterPolicy(10)
	yielding := yieldingFilter{policy}
	if yielding.Name() != policy.Name() {
		t.Fatalf("name %q, want %q", yielding.Name(), policy.Name())
	}
	want, got := policy.NewWriter(sstable.TableFilter), yielding.NewWriter(sstable.TableFilter)
	for i := range 10 * yieldKeys {
		key := fmt.Appendf(nil, "key%d", i)
		want.AddKey(key)
		got.AddKey(key)
	}
	if w, g := want.Finish(nil), got.Finish(nil); !bytes.Equal(w, g) {
		t.Fatalf("a filter of %d bytes, want the same as the policy's of %d", len(g), len(w))
	}
}

// A table writer lets other goroutines run while it adds keys.
func TestTableWriterYields(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := yieldingFilter{bloom.FilterPolicy(10)}.NewWriter(sstable.TableFilter)
	var ran atomic.Bool
	go ran.Store(true)
	yields := 0
	for ; !ran.Load() && yields < 100; yields++ { // the scheduler may run this goroutine again once
		for i := range yieldKeys {
			w.AddKey(fmt.Appendf(nil, "key%d", i))
		}
	}
	if !ran.Load() {
		t.Fatalf("no other goroutine has run during %d keys", yields*yieldKeys)
	}
}
