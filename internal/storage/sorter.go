package storage

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sortedRunBytes is the size of the records that a Sorter sorts in memory. More records are written
// to a file, as a sorted run.
const sortedRunBytes = 16 << 20

// sortedReadBytes is the size of the buffer of each run while runs are merged.
const sortedReadBytes = 64 << 10

// Sorter sorts records by their keys. Records with equal keys stay in the order in which they were
// added. Memory is bounded: records that do not fit are sorted runs in files of a directory.
//
//	for each record { s.Add(key, value) }
//	s.Sort()
//	for s.Next() { s.Key(), s.Value() }
//	s.Err(), s.Close()
//
// A Sorter belongs to one goroutine.
type Sorter struct {
	fs       FS
	dir      string
	runBytes int

	records []byte   // of the open run: lengths of key and value, key, value
	offsets []uint32 // of each record in records

	runs    []string // the paths of the files
	cursors runHeap
	started bool // Next was called
	err     error
}

// NewSorter returns a sorter that keeps its files in the directory dir of fs, which must not be
// used for anything else. Close removes it.
func NewSorter(fs FS, dir string) *Sorter {
	return &Sorter{fs: fs, dir: dir, runBytes: sortedRunBytes}
}

// Add adds a record. Both slices are copied.
func (s *Sorter) Add(key, value []byte) error {
	if len(s.records) > 0 && len(s.records)+len(key)+len(value)+2*binary.MaxVarintLen32 > s.runBytes {
		if err := s.endRun(); err != nil {
			return err
		}
	}
	s.offsets = append(s.offsets, uint32(len(s.records)))
	s.records = binary.AppendUvarint(s.records, uint64(len(key)))
	s.records = binary.AppendUvarint(s.records, uint64(len(value)))
	s.records = append(append(s.records, key...), value...)
	return nil
}

// recordAt returns the record at an offset of records, and the offset behind it.
func recordAt(records []byte, offset int) (key, value []byte, end int) {
	keyBytes, n := binary.Uvarint(records[offset:])
	offset += n
	valueBytes, n := binary.Uvarint(records[offset:])
	offset += n
	middle := offset + int(keyBytes)
	end = middle + int(valueBytes)
	return records[offset:middle], records[middle:end], end
}

func (s *Sorter) sortRun() {
	slices.SortFunc(s.offsets, func(a, b uint32) int {
		x, _, _ := recordAt(s.records, int(a))
		y, _, _ := recordAt(s.records, int(b))
		if c := bytes.Compare(x, y); c != 0 {
			return c
		}
		return int(a) - int(b)
	})
}

// endRun writes the open run to a file.
func (s *Sorter) endRun() (err error) {
	s.sortRun()
	if len(s.runs) == 0 {
		if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
			return fmt.Errorf("sort records: %w", err)
		}
	}
	path := s.fs.PathJoin(s.dir, fmt.Sprintf("%06d.run", len(s.runs)+1))
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("sort records: %w", err)
	}
	s.runs = append(s.runs, path)
	w := bufio.NewWriterSize(f, sortedReadBytes)
	for _, offset := range s.offsets {
		_, _, end := recordAt(s.records, int(offset))
		if _, err = w.Write(s.records[offset:end]); err != nil {
			break
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sort records: %w", err)
	}
	s.records, s.offsets = s.records[:0], s.offsets[:0]
	return nil
}

// Sort ends the additions. Next then returns the records in order.
func (s *Sorter) Sort() error {
	s.sortRun()
	for i, path := range s.runs {
		f, err := s.fs.Open(path, vfs.SequentialReadsOption)
		if err != nil {
			return fmt.Errorf("merge sorted records: %w", err)
		}
		s.cursors = append(s.cursors, &run{order: i, file: f, in: bufio.NewReaderSize(f, sortedReadBytes)})
	}
	s.cursors = append(s.cursors, &run{order: len(s.runs), records: s.records, offsets: s.offsets})
	for _, r := range slices.Clone(s.cursors) {
		if ok, err := r.next(); err != nil {
			return fmt.Errorf("merge sorted records: %w", err)
		} else if !ok {
			s.cursors = slices.DeleteFunc(s.cursors, func(x *run) bool { return x == r })
			s.err = errors.Join(s.err, r.close())
		}
	}
	heap.Init(&s.cursors)
	return s.err
}

// Next moves to the next record, and reports whether there is one. It returns false after an error,
// which Err returns.
func (s *Sorter) Next() bool {
	if s.started && len(s.cursors) > 0 {
		r := s.cursors[0]
		ok, err := r.next()
		switch {
		case err != nil:
			s.err = fmt.Errorf("merge sorted records: %w", err)
		case ok:
			heap.Fix(&s.cursors, 0)
		default:
			heap.Pop(&s.cursors)
			s.err = errors.Join(s.err, r.close())
		}
	}
	s.started = true
	return s.err == nil && len(s.cursors) > 0
}

// Key returns the record's key, valid until the next call of Next.
func (s *Sorter) Key() []byte { return s.cursors[0].key }

// Value returns the record's value, valid until the next call of Next.
func (s *Sorter) Value() []byte { return s.cursors[0].value }

// Err returns the error that ended the records.
func (s *Sorter) Err() error { return s.err }

// Close releases the memory and removes the files.
func (s *Sorter) Close() (err error) {
	for _, r := range s.cursors {
		err = errors.Join(err, r.close())
	}
	s.cursors, s.records, s.offsets = nil, nil, nil
	if len(s.runs) > 0 {
		err = errors.Join(err, s.fs.RemoveAll(s.dir))
	}
	return err
}

// run reads a sorted run: that of a file, or the last one, which is in memory.
type run struct {
	order      int // of the runs, which is that of their additions
	key, value []byte

	file vfs.File
	in   *bufio.Reader
	buf  []byte

	records []byte
	offsets []uint32
}

// next reads the next record; ok is false at the end.
func (r *run) next() (ok bool, err error) {
	if r.in == nil {
		if len(r.offsets) == 0 {
			return false, nil
		}
		r.key, r.value, _ = recordAt(r.records, int(r.offsets[0]))
		r.offsets = r.offsets[1:]
		return true, nil
	}
	keyBytes, err := binary.ReadUvarint(r.in)
	if errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	valueBytes, err := binary.ReadUvarint(r.in)
	if err != nil {
		return false, err
	}
	n := int(keyBytes + valueBytes)
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		return false, err
	}
	r.key, r.value = r.buf[:keyBytes], r.buf[keyBytes:]
	return true, nil
}

func (r *run) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// runHeap has the runs that have records left, that with the lowest key first.
type runHeap []*run

// Len implements heap.Interface.
func (h runHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h runHeap) Less(i, j int) bool {
	if c := bytes.Compare(h[i].key, h[j].key); c != 0 {
		return c < 0
	}
	return h[i].order < h[j].order
}

// Swap implements heap.Interface.
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface. No run is added to a heap.
func (h *runHeap) Push(any) {}

// Pop implements heap.Interface.
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
