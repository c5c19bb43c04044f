package etcdfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cairn/internal/kv"
)

// database writes a snapshot with n changes of values of a size, and returns its name.
func database(t testing.TB, n, valueBytes int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	value, rng := make([]byte, valueBytes), rand.NewChaCha8([32]byte{})
	for i := range int64(n) {
		rng.Read(value) //nolint:errcheck // never fails
		r := kv.Record{Mod: kv.Revision{Main: i + 2}, CreateRevision: i + 2, Version: 1, Value: value}
		if err := w.Change(fmt.Appendf(nil, "/key/%06d", i), &r); err != nil {
			t.Fatal(err)
		}
	}
	err = w.Lease(Lease{ID: 7, TTL: 60})
	if err == nil {
		_, err = w.Finish()
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPagesAreFilled: the pages of a file that takes several transactions are nearly full.
func TestPagesAreFilled(t *testing.T) {
	const n, valueBytes = 50_000, 1000
	info, err := os.Stat(database(t, n, valueBytes))
	if err != nil {
		t.Fatal(err)
	}
	if content := int64(n * valueBytes); content < 2*transactionBytes || info.Size() > content*3/2 {
		t.Errorf("a file with %d bytes of values has %d bytes", content, info.Size())
	}
}

// readAll reads everything in a database.
func readAll(path string, check bool) error {
	f, err := Open(path, check)
	if err != nil {
		return err
	}
	err = f.Changes(func(*Change) error { return nil })
	if err == nil {
		err = f.Leases(func(Lease) error { return nil })
	}
	if err == nil {
		_, err = f.Auth()
	}
	return errors.Join(err, f.Close())
}

// page0 is the first page of a database with a field of its metadata changed, and the checksum
// computed again.
func page0(whole []byte, at int, value uint64) []byte {
	changed := bytes.Clone(whole)
	for _, page := range []int{0, 4096} {
		meta := changed[page+pageHeaderBytes : page+pageHeaderBytes+metaBytes]
		binary.LittleEndian.PutUint64(meta[at:], value)
		sum := fnv.New64a()
		sum.Write(meta[:metaBytes-8])
		binary.LittleEndian.PutUint64(meta[metaBytes-8:], sum.Sum64())
	}
	return changed
}

// TestDamageHasAnOffset damages each part of a page, and expects an error with its offset, whether
// the SHA-256 is verified or not.
func TestDamageHasAnOffset(t *testing.T) {
	path := database(t, 2000, 100)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := findDamage(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Fatalf("an undamaged file: %v", err)
	}
	leaf := bytes.Index(whole, []byte("/key/000100")) / 4096 * 4096
	elements := int(binary.LittleEndian.Uint16(whole[leaf+10:]))
	// of element 0
	record := leaf + pageHeaderBytes + int(binary.LittleEndian.Uint32(whole[leaf+pageHeaderBytes+4:]))
	at := func(offset, n int) func([]byte) []byte {
		return func(b []byte) []byte {
			b = bytes.Clone(b)
			for i := range n {
				b[offset+i] ^= 0xff
			}
			return b
		}
	}
	for _, c := range []struct {
		what   string
		damage func([]byte) []byte
		want   string
	}{
		{"metadata", at(pageHeaderBytes+20, 1), "page 0, offset 0: checksum of the metadata"},
		{"the other metadata", at(4096+pageHeaderBytes+20, 1), "page 1, offset 4096: checksum of the metadata"},
		{"the root", func(b []byte) []byte { return page0(b, 16, 1<<40) }, "a page refers to it, and the file has pages 2 to"},
		{"the number of pages", func(b []byte) []byte { return page0(b, 40, 1<<40) }, "it is truncated"},
		{"a page's ID", at(leaf, 1), fmt.Sprintf("page %d, offset %d: the page has ID", leaf/4096, leaf)},
		{"a page's type", at(leaf+8, 1), fmt.Sprintf("page %d, offset %d: type ", leaf/4096, leaf)},
		{"a page's number of elements", at(leaf+11, 1), fmt.Sprintf("page %d, offset %d: ", leaf/4096, leaf)},
		{"a page's continuation", at(leaf+14, 1), fmt.Sprintf("page %d, offset %d: it continues on", leaf/4096, leaf)},
		{"an element's place", at(leaf+pageHeaderBytes+6, 1), fmt.Sprintf("page %d, offset %d: element 0: its key and value are not within", leaf/4096, leaf+pageHeaderBytes)},
		{"the order of the keys", at(record, 1), fmt.Sprintf("page %d, offset %d: element ", leaf/4096, leaf+pageHeaderBytes)},
		{"a revision", at(record+8, 1), fmt.Sprintf("page %d, offset %d: element ", leaf/4096, leaf+pageHeaderBytes)},
		{"a key-value", at(record+17, 1), fmt.Sprintf("offset %d: element 0: bucket \"key\", key ", leaf+pageHeaderBytes)},
		{"the SHA-256", at(len(whole)-1, 1), fmt.Sprintf("mismatch at offset %d: ", len(whole)-32)},
		{"the end", func(b []byte) []byte { return b[:len(b)-100] }, fmt.Sprintf("ends at offset %d", len(whole)-100)},
		{"the last pages", func(b []byte) []byte { return b[:leaf] }, "it is truncated"},
	} {
		bad := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(bad, c.damage(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		err := readAll(bad, true)
		if !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), bad+": ") || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "offset ") {
			t.Errorf("%s: %v\nwant %q", c.what, err, c.want)
		}
		if err := readAll(bad, false); err != nil && (!errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), bad+": ")) {
			t.Errorf("%s, without the SHA-256: %v", c.what, err)
		}
	}
	if elements < 2 {
		t.Fatalf("the page has %d elements", elements)
	}
}

// TestSnapshotWithoutItsHash cuts exactly the SHA-256 off a snapshot: Open refuses the file if it
// must verify the SHA-256, and accepts it if the caller allows a copied database.
func TestSnapshotWithoutItsHash(t *testing.T) {
	path := database(t, 100, 100)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-32], 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s: snapshot without a SHA-256: the file ends at offset %d: ", path, len(whole)-32)
	if err := readAll(path, true); !errors.Is(err, ErrNoHash) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err := readAll(path, false); err != nil {
		t.Error(err)
	}
}

// TestTruncatedDatabase: bbolt does not get to read behind the end of a file whose metadata is
// whole.
func TestTruncatedDatabase(t *testing.T) {
	path := database(t, 2000, 100)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := newPageWalker(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	for _, pages := range []int{2, 3, 4, 8, int(w.pages) - 1} {
		if err := os.WriteFile(path, whole[:pages*4096], 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%s: corrupt etcd database: page 0, offset 0: %d pages of 4096 bytes, the file has %d bytes: it is truncated",
			path, w.pages, pages*4096)
		for _, check := range []bool{true, false} {
			if err := readAll(path, check); err == nil || err.Error() != want {
				t.Errorf("%d pages: %v\nwant %q", pages, err, want)
			}
		}
	}
}

// TestMappedPagesAreReleased: reading a file larger than residentBytes leaves only that much of its
// mapping resident.
func TestMappedPagesAreReleased(t *testing.T) {
	path := database(t, 800, 64<<10)
	f, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	n, most := 0, int64(0)
	err = f.Changes(func(*Change) error {
		if n++; n%16 == 0 {
			most = max(most, resident(t, path))
		}
		return nil
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	// the kernel maps neighbouring pages as well
	if f.Size() < 3*residentBytes || most == 0 || most > residentBytes+residentBytes/4 {
		t.Errorf("%d of the %d bytes of the file were resident, want at most %d", most, f.Size(), residentBytes)
	}
}

// resident returns how many bytes of a mapped file are resident.
func resident(t *testing.T, path string) (bytes int64) {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	of := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var kib int64
		switch line := lines.Text(); {
		case strings.Contains(line, "-") && strings.Contains(line, " r"):
			of = strings.HasSuffix(line, path)
		case of && strings.HasPrefix(line, "Rss:"):
			if _, err := fmt.Sscanf(line, "Rss: %d kB", &kib); err != nil {
				t.Fatal(err)
			}
			bytes += kib << 10
		}
	}
	return bytes
}

// FuzzReadDatabase reads databases with changed bytes without a panic; each error about damage
// names the file.
func FuzzReadDatabase(f *testing.F) {
	whole, err := os.ReadFile(database(f, 300, 50))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint(4096*3+5), []byte{1})
	f.Add(uint(16), []byte{0, 0, 0, 0})
	f.Add(uint(len(whole)), []byte{})
	path := filepath.Join(f.TempDir(), "fuzzed.db")
	f.Fuzz(func(t *testing.T, at uint, change []byte) {
		b := bytes.Clone(whole)
		if at %= uint(len(whole) + 1); len(change) == 0 {
			b = b[:at]
		}
		for i, c := range change {
			if int(at)+i < len(b) {
				b[int(at)+i] ^= c
			}
		}
		// A file that is overwritten may be flushed to the disk by its close.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readAll(path, false); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
		_ = findDamage(bytes.NewReader(b), int64(len(b)))
	})
}
