package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"cairn/internal/storage"
)

type pair struct{ key, value string }

func testMeta() Meta {
	return Meta{
		ClusterID: 0xcdf818194e3a8c32, Index: 300, Term: 4, Revision: 200, CompactRevision: 100, Time: 1 << 40,
		ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}},
	}
}

func open(t testing.TB) *storage.Store {
	t.Helper()
	s, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *storage.Store, pairs []pair) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	for _, p := range pairs {
		b.Set([]byte(p.key), []byte(p.value))
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
}

// streamOf returns the whole stream of a store.
func streamOf(t testing.TB, s *storage.Store) []byte {
	t.Helper()
	source := sourceOf(t, s)
	b, err := io.ReadAll(source)
	if err := errors.Join(err, source.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// sourceOf returns the stream of a store as it is now.
func sourceOf(t testing.TB, s *storage.Store) *Source {
	t.Helper()
	view, err := s.NewView()
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(view, testMeta())
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// read reads a whole stream.
func read(r io.Reader) (meta Meta, pairs []pair, s *Stream, err error) {
	s, err = NewStream(r)
	if err != nil {
		return meta, nil, nil, err
	}
	defer s.Close()
	for {
		key, value, err := s.Next()
		if errors.Is(err, io.EOF) {
			return s.Meta(), pairs, s, nil
		}
		if err != nil {
			return s.Meta(), pairs, s, err
		}
		pairs = append(pairs, pair{string(key), string(value)})
	}
}

func TestStreamIsWhatTheStoreHas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		defer s.Close() //nolint:errcheck // in memory
		keys := rapid.SliceOfNDistinct(rapid.StringN(1, 20, 40), 0, 5, rapid.ID).Draw(rt, "keys")
		var pairs []pair
		for _, k := range keys {
			size := rapid.SampledFrom([]int{0, 1, 100, 1000, chunkBytes / 3, chunkBytes + 1}).Draw(rt, "size")
			pairs = append(pairs, pair{"c" + k, strings.Repeat(k, size/len(k))})
		}
		put(t, s, pairs)
		stream := streamOf(t, s)
		meta, got, in, err := read(bytes.NewReader(stream))
		if err != nil {
			rt.Fatal(err)
		}
		want := map[string]string{}
		for _, p := range pairs {
			want[p.key] = p.value
		}
		if len(got) != len(want) || in.Count() != uint64(len(want)) || in.Bytes() != int64(len(stream)) {
			rt.Fatalf("%d pairs of %d, %d bytes of %d", len(got), len(want), in.Bytes(), len(stream))
		}
		for _, p := range got {
			if want[p.key] != p.value {
				rt.Fatalf("%q is not what was put", p.key)
			}
		}
		if !proto.Equal(meta.ConfState, testMeta().ConfState) {
			rt.Fatalf("membership %v", meta.ConfState)
		}
		meta.ConfState = testMeta().ConfState
		if !reflect.DeepEqual(meta, testMeta()) {
			rt.Fatalf("header %+v", meta)
		}
	})
}

// TestSameViewSameBytes shows that a stream does not depend on the sizes of the reads.
func TestSameViewSameBytes(t *testing.T) {
	s := open(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		value := make([]byte, rng.IntN(20_000))
		for j := range value {
			value[j] = byte(rng.IntN(8))
		}
		put(t, s, []pair{{fmt.Sprintf("c%d", i), string(value)}})
	}
	want := streamOf(t, s)
	source := sourceOf(t, s)
	got, err := io.ReadAll(iotest.HalfReader(source))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %d in another order of reads: %v", len(want), len(got), err)
	}
	if err := errors.Join(source.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

// TestEveryByteCounts changes each byte of a stream, and truncates it at each.
func TestEveryByteCounts(t *testing.T) {
	s := open(t)
	defer s.Close() //nolint:errcheck // in memory
	put(t, s, []pair{{"c1", "one"}, {"c2", strings.Repeat("two ", 30)}, {"r", ""}})
	stream := streamOf(t, s)
	for i := range stream {
		for _, flip := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(stream)
			b[i] ^= flip
			if _, _, _, err := read(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d of %d changed by %x: %v", i, len(stream), flip, err)
			}
		}
		if _, _, _, err := read(bytes.NewReader(stream[:i])); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut off at byte %d of %d: %v", i, len(stream), err)
		}
	}
	_, _, in, err := read(io.MultiReader(bytes.NewReader(stream), strings.NewReader("more")))
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in.Rest()); err != nil || string(rest) != "more" {
		t.Errorf("after the stream come %q, %v", rest, err)
	}
}

// TestBlocksAtOtherPlaces omits a chunk, repeats one, and swaps two.
func TestBlocksAtOtherPlaces(t *testing.T) {
	s := open(t)
	defer s.Close() //nolint:errcheck // in memory
	for _, k := range []string{"c1", "c2", "c3"} {
		put(t, s, []pair{{k, strings.Repeat(k, chunkBytes/2)}})
	}
	stream := streamOf(t, s)
	var blocks [][]byte
	for rest := stream[len(Magic):]; len(rest) > 0; {
		n := frameBytes + (int(rest[1])<<24 | int(rest[2])<<16 | int(rest[3])<<8 | int(rest[4])) + sumBytes
		blocks, rest = append(blocks, rest[:n]), rest[n:]
	}
	if len(blocks) != 5 {
		t.Fatalf("%d blocks, want header, three chunks, trailer", len(blocks))
	}
	for _, order := range [][]int{{0, 1, 3, 4}, {0, 1, 2, 3}, {0, 1, 1, 2, 3, 4}, {0, 2, 1, 3, 4}, {1, 2, 3, 4}, {0, 4}, {0, 0, 1, 2, 3, 4}} {
		b := []byte(Magic)
		for _, i := range order {
			b = append(b, blocks[i]...)
		}
		if _, _, _, err := read(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("blocks %v: %v", order, err)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	m := testMeta()
	header, err := m.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	header[0] = 2
	_, err = decodeMeta(header)
	const want = "snapshot has format 2, newer than 1, the newest that this version of cairn reads: use the version that wrote it, or a later one"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSourceOfClosedStore(t *testing.T) {
	s := open(t)
	put(t, s, []pair{{"c1", strings.Repeat("x", chunkBytes)}, {"c2", strings.Repeat("x", chunkBytes)}})
	source := sourceOf(t, s)
	if _, err := io.CopyN(io.Discard, source, 100); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(source); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the rest of the stream: %v", err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzStream reads random bytes: reading must end, with no more memory than the input's size.
func FuzzStream(f *testing.F) {
	s := open(f)
	put(f, s, []pair{{"c1", "one"}, {"c2", "two"}})
	f.Add(streamOf(f, s))
	f.Add([]byte(Magic))
	f.Add(append([]byte(Magic), 'h', 0x3f, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, pairs, _, err := read(bytes.NewReader(b))
		if err == nil && len(pairs) > 2 && len(b) < len(pairs) {
			t.Errorf("%d pairs in %d bytes", len(pairs), len(b))
		}
	})
}

func TestFile(t *testing.T) {
	for _, n := range []int{0, 1, 480, 511, 512, 513, 5000} {
		stream := bytes.Repeat([]byte{7}, n)
		b, err := io.ReadAll(iotest.OneByteReader(NewFile(bytes.NewReader(stream))))
		if err != nil {
			t.Fatal(err)
		}
		if len(b)%512 != 32 || !bytes.HasPrefix(b, stream) {
			t.Errorf("a stream of %d bytes makes a file of %d", n, len(b))
		}
		check := func(b []byte) error { return CheckFile(bytes.NewReader(b), int64(len(b))) }
		if err := check(b); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		for _, i := range []int{0, len(b) / 2, len(b) - 33, len(b) - 1} {
			if i < 0 {
				continue
			}
			bad := bytes.Clone(b)
			bad[i] ^= 4
			if err := check(bad); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes, byte %d changed: %v", n, i, err)
			}
		}
		for _, cut := range []int{1, 32, 512, len(b)} {
			if cut > len(b) {
				continue
			}
			if err := check(b[:len(b)-cut]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes, %d cut off: %v", n, cut, err)
			}
		}
	}
}

// Values that compression does not shorten are stored; values behind them that it does shorten are
// compressed again, within storedChunks chunks.
func TestIncompressibleChunksAreStored(t *testing.T) {
	s := open(t)
	defer s.Close() //nolint:errcheck // in memory
	const valueBytes, random, regular = 64 << 10, 160, 320
	rng, value := rand.NewChaCha8([32]byte{}), make([]byte, valueBytes)
	var pairs []pair
	for i := range random {
		rng.Read(value) //nolint:errcheck // never fails
		pairs = append(pairs, pair{fmt.Sprintf("c%04d", i), string(value)})
	}
	for i := range regular {
		pairs = append(pairs, pair{fmt.Sprintf("d%04d", i), strings.Repeat(fmt.Sprintf("%04d", i), valueBytes/4)})
	}
	put(t, s, pairs)
	stream := streamOf(t, s)
	_, got, _, err := read(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, pairs) {
		t.Fatalf("%d pairs read, or others than the %d put", len(got), len(pairs))
	}
	most := random*(valueBytes+20) + (storedChunks+2)*chunkBytes
	if len(stream) < random*valueBytes || len(stream) > most {
		t.Fatalf("a stream of %d bytes, want %d to %d", len(stream), random*valueBytes, most)
	}
	source := sourceOf(t, s)
	defer source.Close() //nolint:errcheck // in memory
	stored := 0
	for range random * valueBytes / chunkBytes {
		before := source.storeNext
		if err := source.fill(); err != nil {
			t.Fatal(err)
		}
		if source.storeNext == before-1 {
			stored++
		}
	}
	if least := random * valueBytes / chunkBytes / 2; stored < least {
		t.Fatalf("%d chunks were stored without an attempt to compress them, want at least %d", stored, least)
	}
}

// Yield is called after each yieldBytes of key-values, and does not change the stream.
func TestYield(t *testing.T) {
	s := open(t)
	defer s.Close() //nolint:errcheck // in memory
	const values, valueBytes = 300, 8 << 10
	var pairs []pair
	for i := range values {
		pairs = append(pairs, pair{fmt.Sprintf("c%04d", i), strings.Repeat("v", valueBytes)})
	}
	put(t, s, pairs)
	want := streamOf(t, s)
	source := sourceOf(t, s)
	yields := 0
	source.Yield = func() { yields++ }
	got, err := io.ReadAll(source)
	if err := errors.Join(err, source.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("a stream of %d bytes, want the same as without Yield, of %d", len(got), len(want))
	}
	if least := values * valueBytes / (2 * yieldBytes); yields < least {
		t.Fatalf("%d calls of Yield for %d bytes, want at least %d", yields, values*valueBytes, least)
	}
}
