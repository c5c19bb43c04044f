package etcdfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of bbolt's pages (docs/formats/etcd.md). All numbers are in the byte order of the
// machine that wrote the file; only little-endian files are searched for damage.
const (
	pageHeaderBytes  = 16
	pageElementBytes = 16
	bucketBytes      = 16 // root page, sequence
	metaBytes        = 64 // with its checksum in the last 8 bytes

	pageBranch = 0x01
	pageLeaf   = 0x02
	pageMeta   = 0x04

	leafIsBucket = 0x01

	// pageDepthMax is the greatest depth of a tree of pages. One of depth 64 would have more pages
	// than a file can have.
	pageDepthMax = 64
)

// placeError is a fault of a page, with its position in the file.
type placeError struct {
	page      uint64
	offset    int64
	fault     string
	truncated bool // the file has fewer pages than its metadata says
}

func (e *placeError) Error() string {
	return fmt.Sprintf("page %d, offset %d: %s", e.page, e.offset, e.fault)
}

// findDamage reads a database page by page, and returns an error with the offset of the first page
// or record that no etcd has written. It returns nil if it finds none: a byte of a value or of an
// unused page may have any value. It is used after damage was detected, since it reads the whole
// file.
func findDamage(f io.ReaderAt, size int64) error {
	w, root, err := newPageWalker(f, size)
	if err != nil {
		return err
	}
	return w.tree(root, nil, 0, w.bucket)
}

// pageWalker walks the trees of pages of a database. Its memory does not grow with the file.
type pageWalker struct {
	f        io.ReaderAt
	pageSize int64
	pages    uint64 // page IDs are below it
	visited  uint64 // pages; more than there are means a cycle
}

// record is called for each record of a tree, with its position.
type record func(key, value []byte, flags uint32, at func(fault string) error) error

// newPageWalker reads the two pages of metadata. root is the page of the tree of buckets.
func newPageWalker(f io.ReaderAt, size int64) (w *pageWalker, root uint64, err error) {
	w = &pageWalker{f: f}
	var newest uint64
	for id := range uint64(2) {
		if id == 1 && w.pageSize == 0 {
			break // its place is not known
		}
		at := int64(id) * w.pageSize
		var page [pageHeaderBytes + metaBytes]byte
		if _, err := f.ReadAt(page[:], at); err != nil {
			return nil, 0, &placeError{page: id, offset: at, fault: fmt.Sprintf("the file ends within the metadata: it has %d bytes", size)}
		}
		meta := page[pageHeaderBytes:]
		sum := fnv.New64a()
		sum.Write(meta[:metaBytes-8]) //nolint:errcheck // never fails
		if recorded := binary.LittleEndian.Uint64(meta[metaBytes-8:]); sum.Sum64() != recorded {
			return nil, 0, &placeError{page: id, offset: at, fault: fmt.Sprintf("checksum of the metadata: computed %016x, recorded %016x", sum.Sum64(), recorded)}
		}
		if flags := binary.LittleEndian.Uint16(page[8:]); flags != pageMeta {
			return nil, 0, &placeError{page: id, offset: at, fault: fmt.Sprintf("type %#x, want metadata (%#x)", flags, pageMeta)}
		}
		w.pageSize = int64(binary.LittleEndian.Uint32(meta[8:]))
		if txid := binary.LittleEndian.Uint64(meta[48:]); id == 0 || txid > newest {
			newest, root, w.pages = txid, binary.LittleEndian.Uint64(meta[16:]), binary.LittleEndian.Uint64(meta[40:])
		}
	}
	if w.pageSize < pageHeaderBytes+metaBytes || int64(w.pages) < 0 || int64(w.pages) > size/w.pageSize {
		fault := fmt.Sprintf("%d pages of %d bytes, the file has %d bytes: it is truncated", w.pages, w.pageSize, size)
		return nil, 0, &placeError{fault: fault, truncated: true}
	}
	return w, root, nil
}

// read returns a page with the pages that continue it.
func (w *pageWalker) read(id uint64) (page []byte, err error) {
	at := int64(id) * w.pageSize
	if w.visited++; w.visited > w.pages {
		return nil, &placeError{page: id, offset: at, fault: "the pages form a cycle"}
	}
	var head [pageHeaderBytes]byte
	if _, err := w.f.ReadAt(head[:], at); err != nil {
		return nil, &placeError{page: id, offset: at, fault: err.Error()}
	}
	if own := binary.LittleEndian.Uint64(head[:]); own != id {
		return nil, &placeError{page: id, offset: at, fault: fmt.Sprintf("the page has ID %d", own)}
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if id+overflow >= w.pages {
		return nil, &placeError{page: id, offset: at, fault: fmt.Sprintf("it continues on %d pages, the file has %d in all", overflow, w.pages)}
	}
	page = make([]byte, int64(1+overflow)*w.pageSize)
	if _, err := w.f.ReadAt(page, at); err != nil {
		return nil, &placeError{page: id, offset: at, fault: err.Error()}
	}
	return page, nil
}

// tree walks a page and the pages below it. No key may be less than first, the key under which the
// parent has the page.
func (w *pageWalker) tree(id uint64, first []byte, depth int, visit record) error {
	at := int64(id) * w.pageSize
	if id < 2 || id >= w.pages {
		return &placeError{page: id, offset: at, fault: fmt.Sprintf("a page refers to it, and the file has pages 2 to %d", w.pages-1)}
	}
	if depth > pageDepthMax {
		return &placeError{page: id, offset: at, fault: "the pages form a cycle"}
	}
	page, err := w.read(id)
	if err != nil {
		return err
	}
	return w.page(page, id, at, first, depth, visit)
}

// page walks the elements of a page at an offset of the file.
func (w *pageWalker) page(page []byte, id uint64, offset int64, first []byte, depth int, visit record) error {
	flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
	fault := func(element int, format string, args ...any) error {
		fault := fmt.Sprintf("element %d: ", element) + fmt.Sprintf(format, args...)
		return &placeError{page: id, offset: offset + pageHeaderBytes + int64(element)*pageElementBytes, fault: fault}
	}
	if flags != pageBranch && flags != pageLeaf {
		return &placeError{page: id, offset: offset, fault: fmt.Sprintf("type %#x, want a branch (%#x) or a leaf (%#x)", flags, pageBranch, pageLeaf)}
	}
	if pageHeaderBytes+count*pageElementBytes > len(page) || flags == pageBranch && count == 0 {
		return &placeError{page: id, offset: offset, fault: fmt.Sprintf("%d elements in %d bytes", count, len(page))}
	}
	last := first
	for i := range count {
		key, value, extra, ok := element(page, i, flags == pageLeaf)
		switch {
		case !ok:
			return fault(i, "its key and value are not within the page")
		case last != nil && bytes.Compare(key, last) < 0, i > 0 && bytes.Equal(key, last):
			return fault(i, "key %x does not follow %x", key, last)
		}
		last = key
		var err error
		if flags == pageBranch {
			err = w.tree(extra, key, depth+1, visit)
		} else {
			err = visit(key, value, uint32(extra), func(text string) error { return fault(i, "%s", text) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element returns the key of an element of a page. Extra is the page below it or, in a leaf, the
// element's flags.
func element(page []byte, i int, leaf bool) (key, value []byte, extra uint64, ok bool) {
	at := pageHeaderBytes + i*pageElementBytes
	e := page[at : at+pageElementBytes]
	var start, keyBytes, valueBytes int
	if leaf {
		extra = uint64(binary.LittleEndian.Uint32(e))
		start, keyBytes, valueBytes = int(binary.LittleEndian.Uint32(e[4:])), int(binary.LittleEndian.Uint32(e[8:])), int(binary.LittleEndian.Uint32(e[12:]))
	} else {
		start, keyBytes, extra = int(binary.LittleEndian.Uint32(e)), int(binary.LittleEndian.Uint32(e[4:])), binary.LittleEndian.Uint64(e[8:])
	}
	if start += at; start+keyBytes+valueBytes > len(page) {
		return nil, nil, 0, false
	}
	return page[start : start+keyBytes], page[start+keyBytes : start+keyBytes+valueBytes], extra, true
}

// bucket walks a bucket, which is a record of the tree of buckets.
func (w *pageWalker) bucket(name, value []byte, flags uint32, at func(string) error) error {
	if flags&leafIsBucket == 0 || len(value) < bucketBytes {
		return at(fmt.Sprintf("%q is no bucket", name))
	}
	check := checkOf(name)
	visit := func(key, value []byte, flags uint32, at func(string) error) error {
		if flags != 0 {
			return at(fmt.Sprintf("flags %#x of key %x in bucket %q", flags, key, name))
		}
		if err := check(key, value); err != nil {
			return at(fmt.Sprintf("bucket %q, key %x: %v", name, key, err))
		}
		return nil
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return w.tree(root, nil, 0, visit)
	}
	if len(value) < bucketBytes+pageHeaderBytes {
		return at(fmt.Sprintf("bucket %q has %d bytes", name, len(value)))
	}
	// The page of a small bucket is part of the record. Its elements have the record's place.
	here := func(key, value []byte, flags uint32, _ func(string) error) error { return visit(key, value, flags, at) }
	if err := w.page(value[bucketBytes:], 0, 0, nil, 0, here); err != nil {
		return at(fmt.Sprintf("bucket %q: %v", name, err))
	}
	return nil
}

// checkOf returns the check of a bucket's records.
func checkOf(bucket []byte) func(key, value []byte) error {
	switch {
	case bytes.Equal(bucket, bucketKey):
		return func(key, value []byte) error { _, err := parseChange(key, value); return err }
	case bytes.Equal(bucket, bucketLease):
		return func(key, value []byte) error { _, err := leaseOf(key, value); return err }
	default:
		return func([]byte, []byte) error { return nil }
	}
}
