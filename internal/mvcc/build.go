package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// History is the history of another store.
type History interface {
	// Changes calls visit for each change, in the order of the revisions. Key and record are valid
	// during the call.
	Changes(visit func(key []byte, r *kv.Record) error) error
	// Value returns the value that was written at a revision, valid until the next call.
	Value(rev kv.Revision) ([]byte, error)
}

// HistoryGapMax is the maximum number of consecutive revisions without a change in a history.
const HistoryGapMax = 1 << 20

// Builder makes the tables of a new store from the history of another one, in the order of their
// keys: nothing is looked up in the new store, and each value is read as often as it is written.
//
//	b.Read()                // checks the revisions, and sorts the changes by key
//	b.WriteKeys(add)        // tables c and k
//	b.WriteCounts(add)      // table n
//	b.WriteHistory(add)     // table r
//	b.WriteTombstones(add)  // table x
//	b.Close()
//
// A Builder belongs to one goroutine. After an error the tables must be discarded.
type Builder struct {
	from    History
	compact int64 // the changes up to it are the initial keys, without history

	revision int64 // of the last change
	mixed    bool

	changes    *storage.Sorter // key → change, without values
	replaced   *storage.Sorter // revision → replaced version without its value, jump
	leaseKeys  *storage.Sorter // entries of table k
	tombstones *storage.Sorter // entries of table x
	starts     [][]byte        // of the blocks of the count index
	live       []uint64        // keys of each block

	buf, key []byte
}

// NewBuilder returns a builder for a history that was compacted at a revision; FirstRevision or
// less if it was not. It keeps its files in the directory dir of fs.
func NewBuilder(fs storage.FS, dir string, from History, compactRevision int64) *Builder {
	sorter := func(name string) *storage.Sorter { return storage.NewSorter(fs, fs.PathJoin(dir, name)) }
	b := &Builder{
		from: from, revision: FirstRevision,
		changes: sorter("changes"), replaced: sorter("replaced"), leaseKeys: sorter("leasekeys"), tombstones: sorter("tombstones"),
	}
	if compactRevision > FirstRevision {
		b.compact, b.revision = compactRevision, compactRevision
	}
	return b
}

// Close removes the builder's files.
func (b *Builder) Close() error {
	return errors.Join(b.changes.Close(), b.replaced.Close(), b.leaseKeys.Close(), b.tombstones.Close())
}

// Read reads the history once, and returns its last revision. It returns an error that wraps
// ErrHistory when the revisions contradict each other.
func (b *Builder) Read() (revision int64, err error) {
	order := sequence{at: b.revision}
	err = b.from.Changes(func(key []byte, r *kv.Record) error {
		if r.Mod.Main > b.compact {
			if err := order.follow(r.Mod); err != nil {
				return err
			}
			if r.Deleted {
				b.key = tombstoneKey(b.key[:0], r.Mod)
				if err := b.tombstones.Add(b.key, key); err != nil {
					return err
				}
			}
		}
		b.mixed = b.mixed || !r.Deleted && len(key) > 0 && key[0] == '/'
		b.buf = appendVersion(b.buf[:0], r)
		return b.changes.Add(key, b.buf)
	})
	b.revision = order.at
	return b.revision, err
}

// Mixed reports whether keys begin with '/', after Read: see MixedKey.
func (b *Builder) Mixed() bool { return b.mixed }

// MixedKey is the key of a record without value that a store has in which v3 has written keys of
// v2.
func MixedKey() []byte { return bytes.Clone(mixedKey) }

// sequence checks the order of revisions: their subs are 0, 1, 2, …
type sequence struct {
	at  int64 // the main revision
	sub int64 // the next sub at it
}

func (s *sequence) follow(rev kv.Revision) error {
	switch {
	case rev.Main == s.at && rev.Sub == s.sub && s.sub > 0:
	case rev.Main > s.at && rev.Main-s.at <= HistoryGapMax && rev.Sub == 0:
	default:
		return fmt.Errorf("%w: revision %d/%d follows %d events of revision %d", ErrHistory, rev.Main, rev.Sub, s.sub, s.at)
	}
	s.at, s.sub = rev.Main, rev.Sub+1
	return nil
}

// WriteKeys adds tables c and k to the new store.
func (b *Builder) WriteKeys(add func(key, value []byte) error) error {
	if err := b.changes.Sort(); err != nil {
		return err
	}
	b.starts, b.live = [][]byte{nil}, []uint64{0}
	k := keyBuilder{Builder: b, add: add}
	for b.changes.Next() {
		if !k.started || !bytes.Equal(b.changes.Key(), k.key) {
			if err := k.end(); err != nil {
				return err
			}
			k.begin(b.changes.Key())
		}
		r, err := decodeVersion(b.changes.Value())
		if err == nil {
			err = k.change(&r)
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(b.changes.Err(), k.end(), b.changes.Close()); err != nil {
		return err
	}
	return copySorted(b.leaseKeys, add)
}

// copySorted adds the records of a sorter.
func copySorted(s *storage.Sorter, add func(key, value []byte) error) error {
	if err := s.Sort(); err != nil {
		return err
	}
	for s.Next() {
		if err := add(s.Key(), s.Value()); err != nil {
			return err
		}
	}
	return s.Err()
}

// keyBuilder follows the changes of one key after the other.
type keyBuilder struct {
	*Builder
	add     func(key, value []byte) error
	started bool
	key     []byte
	newest  node // of the key, without its value
	exists  bool // there is a newest version, which may be a tombstone
	path    [2][chainPathMax + 1]kv.Revision
	turn    int
}

func (k *keyBuilder) begin(key []byte) {
	k.started, k.exists, k.newest = true, false, node{}
	k.key = append(k.key[:0], key...)
}

// change takes the key's next version.
func (k *keyBuilder) change(r *kv.Record) error {
	if r.Mod.Main <= k.compact {
		k.exists, k.newest = !r.Deleted, node{Record: *r, chain: chain{depth: 1}}
		return nil
	}
	var old node
	if k.exists {
		old = k.newest
	}
	if err := checkFollows(k.key, r, &old.Record, k.exists); err != nil {
		return err
	}
	n := node{Record: *r}
	var jump kv.Revision
	k.turn = 1 - k.turn
	n.chain, jump = old.chain.next(k.path[k.turn][:0], old.Mod, k.compact)
	k.exists, k.newest = true, n
	if old.Mod.IsZero() {
		return nil
	}
	k.buf = appendRevision(k.buf[:0], jump, flagSub)
	k.buf = appendVersion(k.buf, &old.Record)
	var rev [13]byte
	return k.replaced.Add(eventKey(rev[:0], r.Mod), k.buf)
}

// checkFollows checks a change against the version that it replaces, if there is one.
func checkFollows(key []byte, r, old *kv.Record, exists bool) error {
	live := exists && !old.Deleted
	if r.Deleted {
		if !live {
			return fmt.Errorf("%w: revision %d deletes key %q, which does not exist", ErrHistory, r.Mod.Main, head(key))
		}
		return nil
	}
	create, version := r.Mod.Main, int64(1)
	if live {
		create, version = old.CreateRevision, old.Version+1
	}
	if r.CreateRevision != create || r.Version != version {
		return fmt.Errorf("%w: key %q at revision %d has create revision %d and version %d, want %d and %d",
			ErrHistory, head(key), r.Mod.Main, r.CreateRevision, r.Version, create, version)
	}
	return nil
}

// end writes the newest version of the key.
func (k *keyBuilder) end() (err error) {
	if !k.exists {
		return nil
	}
	b, n := k.Builder, &k.newest
	if !n.Deleted {
		if n.Value, err = b.from.Value(n.Mod); err != nil {
			return err
		}
		if err := b.count(k.key); err != nil {
			return err
		}
		if n.Lease != 0 {
			b.key = appendLeaseKey(b.key[:0], n.Lease, k.key)
			if err := b.leaseKeys.Add(b.key, nil); err != nil {
				return err
			}
		}
	}
	b.key = currentKey(b.key[:0], k.key)
	b.buf = appendNode(b.buf[:0], n)
	return k.add(b.key, b.buf)
}

// count counts a live key.
func (b *Builder) count(key []byte) error {
	last := len(b.live) - 1
	if b.live[last] == blockTargetKeys {
		b.starts, b.live = append(b.starts, bytes.Clone(key)), append(b.live, 0)
		last++
	}
	b.live[last]++
	return nil
}

// WriteCounts adds table n to the new store.
func (b *Builder) WriteCounts(add func(key, value []byte) error) error {
	for i, start := range b.starts {
		b.key = append(append(b.key[:0], byte(storage.TableCounts)), start...)
		b.buf = binary.AppendUvarint(b.buf[:0], b.live[i])
		if err := add(b.key, b.buf); err != nil {
			return err
		}
	}
	return nil
}

// WriteHistory adds table r to the new store. It reads the history once more.
func (b *Builder) WriteHistory(add func(key, value []byte) error) error {
	if b.compact > 0 {
		if err := add(AdvanceEvent(b.compact)); err != nil {
			return err
		}
	}
	if err := b.replaced.Sort(); err != nil {
		return err
	}
	more := b.replaced.Next()
	at := max(b.compact, FirstRevision)
	err := b.from.Changes(func(key []byte, r *kv.Record) error {
		if r.Mod.Main <= b.compact {
			return nil
		}
		for ; at+1 < r.Mod.Main; at++ {
			if err := add(AdvanceEvent(at + 1)); err != nil {
				return err
			}
		}
		at = r.Mod.Main
		e := event{Event: kv.Event{Type: kv.EventPut, Key: key, Record: *r}}
		if r.Deleted {
			e.Type = kv.EventDelete
		}
		b.key = eventKey(b.key[:0], r.Mod)
		if more && bytes.Equal(b.replaced.Key(), b.key) {
			if err := b.setReplaced(&e); err != nil {
				return err
			}
			more = b.replaced.Next()
		}
		b.buf = appendEvent(b.buf[:0], &e)
		return add(b.key, b.buf)
	})
	if err = errors.Join(err, b.replaced.Err()); err == nil && (more || at != b.revision) {
		err = fmt.Errorf("%w: it changed while it was read", ErrHistory)
	}
	return err
}

// setReplaced adds the version that an event replaced, from the sorter's current record.
func (b *Builder) setReplaced(e *event) (err error) {
	d := codec.NewReader(b.replaced.Value())
	e.jump = takeRevision(&d, flagSub)
	if err := d.Err(); err != nil {
		return err
	}
	if e.Prev, err = decodeVersion(d.Rest()); err != nil || e.Prev.Deleted {
		return err
	}
	e.Prev.Value, err = b.from.Value(e.Prev.Mod)
	return err
}

// WriteTombstones adds table x to the new store.
func (b *Builder) WriteTombstones(add func(key, value []byte) error) error {
	return copySorted(b.tombstones, add)
}

// appendVersion appends a version without its value.
func appendVersion(dst []byte, r *kv.Record) []byte {
	flags := versionFlags(r)
	dst = appendRevision(append(dst, flags), r.Mod, flags)
	if r.Deleted {
		return dst
	}
	return appendFacts(dst, r)
}

// decodeVersion is the inverse of appendVersion.
func decodeVersion(b []byte) (r kv.Record, err error) {
	d := codec.NewReader(b)
	flags := d.Byte()
	r.Mod = takeRevision(&d, flags)
	if r.Deleted = flags&flagDeleted != 0; !r.Deleted {
		takeFacts(&d, flags, &r)
	}
	return r, d.Err()
}
