package mvcc

import "testing"

// cached returns the value that the cache has for a key.
func (st *state) cached(key string) (value string, ok bool) {
	b, ok, _ := st.s.cache.get(nil, []byte(key))
	if !ok {
		return "", false
	}
	r, err := decodeRecord(b)
	st.check(err)
	return string(r.Value), true
}

func TestReadsFillTheCache(t *testing.T) {
	st := newState(t)
	st.each(put("k", "v"))
	st.s.cache.suspend(true)
	st.s.cache.suspend(false)
	if _, ok := st.cached("k"); ok {
		t.Fatal("the cache is not empty")
	}
	for range 2 {
		var read Collector
		_, err := st.s.Range(&RangeOp{KeyRange: span("k", "")}, &read)
		st.check(err)
		if len(read.Keys) != 1 || string(read.Keys[0].Value) != "v" {
			t.Fatalf("read %v", read.Keys)
		}
		if got, ok := st.cached("k"); !ok || got != "v" {
			t.Fatalf("after a read the cache has %q, %t", got, ok)
		}
	}
}

// A reader that read a value before the writer replaced it must not put it over the newer one, also
// when that one is no longer in the cache.
func TestFillDoesNotReplaceNewer(t *testing.T) {
	c := cache{recent: recent{bytesMax: recentBytesMax}}
	key := []byte("k")
	for _, change := range []struct {
		name string
		do   func()
		want string
	}{
		{"put", func() { c.put(key, []byte("new")) }, "new"},
		{"put of another key", func() { c.put([]byte("l"), []byte("new")) }, ""},
		{"suspended", func() { c.suspend(true) }, ""},
		{"resumed", func() { c.suspend(false) }, ""},
	} {
		c.suspend(false)
		c.recent = recent{bytesMax: recentBytesMax}
		_, _, at := c.get(nil, key)
		change.do()
		c.fill(key, []byte("old"), at)
		if got, _, _ := c.get(nil, key); string(got) != change.want {
			t.Errorf("%s: the cache has %q, want %q", change.name, got, change.want)
		}
	}
}

// Once the cache is full, values that are read once do not displace those that are used.
func TestFullCacheAddsFewReads(t *testing.T) {
	c := cache{recent: recent{bytesMax: 4 << 20}}
	value := make([]byte, 1000)
	key := make([]byte, 4)
	added := 0
	const reads = 64_000
	for i := range reads {
		key[0], key[1], key[2] = byte(i), byte(i>>8), byte(i>>16)
		full := c.recent.full()
		_, _, at := c.get(nil, key)
		c.fill(key, value, at)
		if _, ok, _ := c.get(nil, key); !ok && !full {
			t.Fatalf("read %d was not added though there is room", i)
		} else if ok && full {
			added++
		}
	}
	if added == 0 || added > 2*reads/fillEvery {
		t.Errorf("%d of %d reads were added to the full cache", added, reads)
	}
}
