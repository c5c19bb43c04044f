package mvcc

import (
	"encoding/binary"
	"fmt"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// fataler is the common interface of *testing.T, *testing.B and *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// state is a store with its writer, for tests.
type state struct {
	t    fataler
	fs   storage.CrashableFS
	db   *storage.Store
	s    *Store
	w    *Writer
	b    *storage.Batch
	open bool // a batch is open
}

func newState(t fataler) *state {
	st := &state{t: t, fs: storage.NewCrashableFS()}
	st.start(FirstRevision, 0)
	return st
}

func (st *state) start(revision, compact int64) {
	st.t.Helper()
	var err error
	st.db, err = storage.OpenState("state", storage.Options{FS: st.fs, CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	st.check(err)
	st.s, err = Open(st.db, revision, compact)
	st.check(err)
	st.w, st.b = st.s.NewWriter(), st.db.NewBatch()
}

func (st *state) check(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *state) close() {
	st.check(st.b.Close())
	st.check(st.db.Close())
}

// reopen closes the store properly and opens it again.
func (st *state) reopen() {
	head := st.s.Head()
	st.check(st.db.Flush())
	st.close()
	st.start(head.Revision, head.CompactRevision)
}

func (st *state) begin() {
	st.b.Reset()
	st.check(st.w.Begin(st.b))
	st.open = true
}

// commit makes the open batch visible, in two steps: store, then head.
func (st *state) commit() {
	st.commitUnpublished()
	st.w.Publish()
}

func (st *state) commitUnpublished() {
	st.check(st.w.Finish())
	st.check(st.b.Commit(false))
	st.open = false
}

// each runs one command per batch.
func (st *state) each(commands ...func(w *Writer) error) {
	st.t.Helper()
	for _, c := range commands {
		st.begin()
		st.command(c)
		st.commit()
	}
}

// command runs a command of the open batch, which is aborted when it fails.
func (st *state) command(c func(w *Writer) error) error {
	st.w.Start()
	if err := c(st.w); err != nil {
		st.w.Abort()
		return err
	}
	st.check(st.w.End())
	return nil
}

func put(key, value string) func(*Writer) error {
	return func(w *Writer) error {
		_, err := w.Put(&PutOp{Key: []byte(key), Value: []byte(value)})
		return err
	}
}

func del(r kv.KeyRange) func(*Writer) error {
	return func(w *Writer) error {
		_, err := w.Delete(&DeleteOp{KeyRange: r})
		return err
	}
}

// span is the range [key, end), or key alone when end is "".
func span(key, end string) kv.KeyRange {
	r := kv.KeyRange{Key: []byte(key)}
	if end != "" {
		r.End = []byte(end)
	}
	return r
}

// all is the whole key space.
var all = kv.KeyRange{Key: []byte{}, End: []byte{0}}

func (st *state) grantLease(id kv.LeaseID) {
	st.b.Set(binary.BigEndian.AppendUint64([]byte{byte(storage.TableLeases)}, uint64(id)), []byte{1})
}

// walkTable visits the raw entries of one table.
func (st *state) walkTable(table storage.Table, visit func(key, value []byte)) {
	it := st.db.NewIter([]byte{byte(table)}, []byte{byte(table) + 1})
	for ok := it.First(); ok; ok = it.Next() {
		visit(it.Key()[1:], it.Value())
	}
	st.check(it.Close())
}

// checkCounts checks the invariants of the count index against a walk over the keys: in memory, and
// in table n.
func (st *state) checkCounts() {
	st.t.Helper()
	c := st.s.Head().counts
	var starts []string
	var live []int64
	for i, ch := range c.chunks {
		if len(ch.starts) == 0 || len(ch.starts) != len(ch.live) || len(ch.starts) > chunkSplit {
			st.t.Fatalf("chunk %d has %d starts and %d counts", i, len(ch.starts), len(ch.live))
		}
		sum := int64(0)
		for _, n := range ch.live {
			sum += n
		}
		if sum != ch.sum {
			st.t.Fatalf("chunk %d has sum %d, its blocks %d", i, ch.sum, sum)
		}
		starts, live = append(starts, ch.starts...), append(live, ch.live...)
	}
	if starts[0] != "" {
		st.t.Fatalf("first block starts at %q", starts[0])
	}
	for i := 1; i < len(starts); i++ {
		if starts[i-1] >= starts[i] {
			st.t.Fatalf("block %q before %q", starts[i-1], starts[i])
		}
	}
	walked := make([]int64, len(starts))
	block := 0
	err := st.s.Reading().Walk(nil, nil, func(key []byte, _ *kv.Record) ([]byte, bool) {
		for block+1 < len(starts) && string(key) >= starts[block+1] {
			block++
		}
		walked[block]++
		return nil, true
	})
	st.check(err)
	for i := range walked {
		if walked[i] != live[i] {
			st.t.Fatalf("block %d %q counts %d keys, has %d", i, starts[i], live[i], walked[i])
		}
	}
	stored := 0
	st.walkTable(storage.TableCounts, func(key, value []byte) {
		n, _ := binary.Uvarint(value)
		if stored >= len(starts) || starts[stored] != string(key) || live[stored] != int64(n) {
			st.t.Fatalf("table n has block %q of %d; in memory block %d of %d", key, n, stored, len(starts))
		}
		stored++
	})
	if stored != len(starts) && (stored != 0 || len(starts) != 1 || live[0] != 0) {
		st.t.Fatalf("table n has %d blocks, memory %d", stored, len(starts))
	}
}

func testState(t *testing.T) *state {
	st := newState(t)
	t.Cleanup(st.close)
	return st
}

func keyN(n int) string { return fmt.Sprintf("k%06d", n) }
