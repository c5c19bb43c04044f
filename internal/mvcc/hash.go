package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"cairn/internal/kv"
)

// Hash is a checksum of the part of the key space that clients can read: all keys as of a revision,
// and the history up to it. If two members have equal Revision and CompactRevision but different
// sums, one of them is damaged.
type Hash struct {
	Sum      uint32
	Revision int64
	// CompactRevision is where the history in the sum begins; 0 when nothing has been compacted.
	CompactRevision int64
}

// hashSliceBytes is the number of bytes read at a time. No state of the store is pinned between two
// slices.
const hashSliceBytes = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKeys returns the checksum of the keys alone as of a revision; 0 means the current one. The
// sum is the same before and after a compaction to that revision. After it, the result's
// CompactRevision is the one before that compaction, as in etcd, which keeps the hash that it
// computes while it compacts. Otherwise see Hash.
func (s *Store) HashKeys(requested int64, pause func() error) (Hash, error) {
	return s.hash(requested, func(head *Head, rev int64) (Hash, error) {
		h := hashing{store: s, rev: rev, pause: pause}
		h.add(binary.BigEndian.AppendUint64(nil, uint64(rev))) // so that the hash of an empty store is not 0
		res := Hash{Revision: rev, CompactRevision: head.CompactRevision}
		if rev == head.CompactRevision {
			res.CompactRevision = head.compactedBefore
		}
		err := h.keys()
		res.Sum = h.sum
		return res, err
	})
}

// Hash returns the checksum as of a revision; 0 means the current one. It depends on revisions,
// keys and values alone: not on the layout of the store, on unswept tombstones, or on concurrent
// writes. It reads everything, in slices, and calls pause before each; an error of pause ends it.
// It returns ErrCompacted and ErrFutureRevision for revisions that cannot be read.
func (s *Store) Hash(requested int64, pause func() error) (Hash, error) {
	return s.hash(requested, func(_ *Head, rev int64) (Hash, error) {
		h := hashing{store: s, rev: rev, pause: pause}
		err := h.keys()
		if err == nil {
			err = h.history()
		}
		return Hash{Sum: h.sum, Revision: rev, CompactRevision: h.compact}, err
	})
}

// hash resolves the requested revision and runs compute. It runs compute again when a compaction
// overtakes it and the request named no revision.
func (s *Store) hash(requested int64, compute func(head *Head, rev int64) (Hash, error)) (Hash, error) {
	for {
		head := s.stableHead()
		rev, err := readRevision(requested, head.Revision, head.CompactRevision)
		if err == nil && head.Loading {
			err = ErrLoading
		}
		if err != nil {
			return Hash{}, err
		}
		h, err := compute(head, rev)
		switch {
		case err == nil:
			return h, nil
		case !errors.Is(err, ErrOvertaken):
			return Hash{}, err
		case requested > 0 && s.replacing.Load() == nil:
			return Hash{}, ErrCompacted
		}
		if err := s.awaitNext(head); err != nil {
			return Hash{}, err
		}
	}
}

// hashing computes a Hash.
type hashing struct {
	store   *Store
	rev     int64
	compact int64
	pause   func() error
	sum     uint32
	bytes   int // read in the current slice
	buf     []byte
}

func (h *hashing) add(b []byte) {
	h.sum = crc32.Update(h.sum, castagnoli, b)
	h.bytes += len(b)
}

// begin starts a slice.
func (h *hashing) begin() error {
	h.bytes = 0
	return h.pause()
}

// keys adds the live keys.
func (h *hashing) keys() error {
	v := view{src: h.store, rev: h.rev}
	lower, upper := currentBounds(kv.KeyRange{Key: []byte{}, End: []byte{0}})
	for lower != nil {
		if err := h.begin(); err != nil {
			return err
		}
		from := lower
		lower = nil
		err := v.walk(from, upper, func(key []byte, r *kv.Record) bool {
			if h.bytes >= hashSliceBytes {
				lower = currentKey(nil, key)
				return false
			}
			h.record(key, r)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// record adds one version of a key; a tombstone adds only its revision.
func (h *hashing) record(key []byte, r *kv.Record) {
	flags := versionFlags(r) | flagSub
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(key)))
	h.buf = append(append(h.buf, key...), flags)
	h.buf = appendRevision(h.buf, r.Mod, flags)
	if !r.Deleted {
		h.buf = binary.AppendUvarint(appendFacts(h.buf, r), uint64(len(r.Value)))
	}
	h.add(h.buf)
	if !r.Deleted {
		h.add(r.Value)
	}
}

// history adds the events from the compact revision on. A compaction that overtakes it removes only
// the beginning of the history, so it starts again behind that; the hash of the keys is kept.
func (h *hashing) history() error {
	keys := h.sum
	for {
		head := h.store.head.Load()
		h.sum, h.compact = keys, head.CompactRevision
		if h.compact > h.rev {
			return ErrOvertaken
		}
		err := h.events()
		if !errors.Is(err, ErrCompacted) {
			return err
		}
		if err := h.store.awaitNext(head); err != nil {
			return err
		}
	}
}

func (h *hashing) events() error {
	next := max(h.compact, FirstRevision+1)
	for next <= h.rev {
		if err := h.begin(); err != nil {
			return err
		}
		from := next
		next = h.rev + 1
		overtaken := false
		_, err := h.store.History(from, h.rev, func(e *kv.Event) bool {
			// A compaction to this revision is in the store but not published yet.
			if overtaken = e.PrevGone && e.Record.Mod.Main != h.compact; overtaken {
				return false
			}
			if e.Record.Mod.Sub == 0 && h.bytes >= hashSliceBytes {
				next = e.Record.Mod.Main
				return false
			}
			h.event(e)
			return true
		})
		if err == nil && overtaken {
			err = ErrCompacted
		}
		if err != nil {
			return fmt.Errorf("hash history from %d: %w", from, err)
		}
	}
	return nil
}

func (h *hashing) event(e *kv.Event) {
	dir := byte(0)
	if e.Dir {
		dir = 1
	}
	h.buf = append(h.buf[:0], byte(e.Type), byte(e.Action), dir)
	h.add(h.buf)
	h.record(e.Key, &e.Record)
	if !e.Prev.Mod.IsZero() {
		h.record(nil, &e.Prev)
	}
}

// Passed reports whether a value of table c is a tombstone that a compaction to the given revision
// has passed. Readers and writers ignore such a tombstone; each member removes it at a different
// time.
func Passed(value []byte, compacted int64) (bool, error) {
	r, err := decodeRecord(value)
	return r.Deleted && r.Mod.Main <= compacted, err
}
