package mvcc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// recentModel checks the cache against a map: what it finds is the newest value of the key, its
// index and its chunks agree, and it takes no more than its limit.
func checkRecentModel(t *testing.T, r *recent, model map[string][]byte) {
	t.Helper()
	live := 0
	for c := range r.chunks {
		for at := 0; at < recentChunkBytes; {
			if c == r.current && at == r.head && r.head < r.tail {
				at = r.tail
				continue
			}
			e := entry(r.chunks[c][at:])
			if e.size() == 0 {
				break
			}
			if e.state() != entryDead {
				live++
				if got, _ := r.find(e.hash(), e.key()); got == nil || &got[0] != &e[0] {
					t.Fatalf("key %q at %d of chunk %d is not in the index", e.key(), at, c)
				}
				if want, ok := model[string(e.key())]; !ok || !bytes.Equal(want, e.value()) {
					t.Fatalf("key %q: %d bytes, want %d", e.key(), len(e.value()), len(want))
				}
			}
			at += e.size()
		}
	}
	if live != r.index.n {
		t.Fatalf("%d entries, %d in the index", live, r.index.n)
	}
	if bytes := len(r.chunks)*recentChunkBytes + r.index.bytes(); bytes > r.bytesMax {
		t.Fatalf("%d bytes, limit %d", bytes, r.bytesMax)
	}
}

func TestRecentModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := &recent{bytesMax: 4 << 20}
			model := make(map[string][]byte)
			hits := 0
			for i := range 60_000 {
				// Most keys are among a few thousand that fit, some are used once.
				key := []byte(fmt.Sprintf("key/%d", rng.IntN(2000)))
				if rng.IntN(4) == 0 {
					key = []byte(fmt.Sprintf("once/%d", rng.IntN(1<<20)))
				}
				if rng.IntN(3) == 0 {
					if got, ok := r.get(key); ok {
						hits++
						if want, ok := model[string(key)]; !ok || !bytes.Equal(got, want) {
							t.Fatalf("key %q: %d bytes, want %d", key, len(got), len(want))
						}
					}
				}
				value := make([]byte, rng.IntN(600))
				if rng.IntN(500) == 0 {
					value = make([]byte, rng.IntN(2*recentValueBytesMax))
				}
				for j := range min(len(value), 8) {
					value[j] = byte(rng.Uint32())
				}
				r.put(key, value)
				model[string(key)] = value
				if i%5000 == 0 {
					checkRecentModel(t, r, model)
				}
			}
			checkRecentModel(t, r, model)
			if hits < 10_000 {
				t.Errorf("%d hits, want at least 10,000: most keys fit", hits)
			}
		})
	}
}

// Keys that are written again and again stay while others, written once, pass through.
func TestRecentSparesUsed(t *testing.T) {
	r := &recent{bytesMax: 3 << 20}
	value := make([]byte, 200)
	hot := func(i int) []byte { return fmt.Appendf(nil, "hot/%d", i) }
	for i := range 100 {
		r.put(hot(i), value)
	}
	for i := range 100_000 {
		r.put(fmt.Appendf(nil, "cold/%d", i), value)
		if i%10 == 0 {
			r.put(hot(i/10%100), value)
		}
	}
	for i := range 100 {
		if _, ok := r.get(hot(i)); !ok {
			t.Errorf("key %s was dropped", hot(i))
		}
	}
}

// A store of 100,000 keys of 256 bytes fits in the cache of a member with enough memory.
func TestRecentHoldsSmallStore(t *testing.T) {
	r := &recent{bytesMax: recentBytesMax}
	value := make([]byte, 256+20)
	key := func(i int) []byte { return fmt.Appendf(nil, "/registry/pods/default/%09d", i) }
	for i := range 100_000 {
		r.put(key(i), value)
	}
	for i := range 100_000 {
		if _, ok := r.get(key(i)); !ok {
			t.Fatalf("key %s was dropped", key(i))
		}
	}
	r = &recent{}
	r.put(key(0), value)
	if _, ok := r.get(key(0)); ok || r.chunks != nil {
		t.Error("a cache without memory holds a value")
	}
}
