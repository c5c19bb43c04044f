// Package mvcc stores revisioned keys: put, range, delete, transactions, history and compaction,
// over the tables c, r, n and x of the state store (docs/formats/state-store.md), and k, the keys
// of each lease.
//
// Table c has the newest record of every key, so that a read at the current revision is one lookup,
// or one sequential scan. Table r has one event for every change, in revision order; an event has
// both the version that it made and the version that it replaced. A read at an older revision R
// takes a key from c when its mod revision is ≤ R; otherwise the replaced version in the oldest
// event of the key after R is the key as of R. Because no event needs another, compaction is one
// range deletion (ADR 0001).
//
// There is one Writer, which the applier drives. Any number of readers run concurrently, without
// locks: a reader loads the Head, which is published after the batch that it describes, and reads
// as of Head.Revision from a store that may already be ahead of it.
//
// mvcc does not handle sessions, users, the lifetimes of leases, or the wire; it reads no clock and
// starts no goroutine.
package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// The errors that requests can cause. v3rpc and v2http translate them.
var (
	// ErrCompacted is returned for a revision that is older than the compaction.
	ErrCompacted = kv.NewRefusal("required revision has been compacted")
	// ErrFutureRevision is returned for a revision above the head.
	ErrFutureRevision = kv.NewRefusal("required revision is a future revision")
	// ErrKeyNotFound is returned when ignore_value or ignore_lease names a key that does not exist.
	ErrKeyNotFound = kv.NewRefusal("key not found")
	// ErrTooLarge is returned when a command would change, or return, more at once than a member
	// can hold. Nothing was changed; smaller ranges may succeed.
	ErrTooLarge = kv.NewRefusal("command changes or returns too much at once")
	// ErrLeaseNotFound is returned when a put names a lease that does not exist.
	ErrLeaseNotFound = kv.NewRefusal("requested lease not found")
)

// ErrCorrupt is wrapped by the errors about bytes in the store that no cairn has written.
var ErrCorrupt = errors.New("corrupt record")

// FirstRevision is the revision of an empty store, as in etcd: the first write is at the next one.
const FirstRevision = 1

// Head is the state of the key space as of one revision. It never changes once
// it is published.
type Head struct {
	// Revision is the main revision of the newest change.
	Revision int64
	// CompactRevision is the oldest revision that can be read, or 0 when nothing has been
	// compacted.
	CompactRevision int64
	// compactedBefore is the compact revision before the last compaction. It is lost in a restart;
	// then it is CompactRevision itself.
	compactedBefore int64
	// Mixed is set once v3 has put a key that begins with a slash. Until then all such keys are
	// v2's, and v2tree reads them by a shorter way. It is never reset.
	Mixed bool
	// Loading is set while not all keys are there, see Writer.Restart. Reads return ErrLoading.
	Loading bool

	counts *counts
}

// Keys returns the number of live keys.
func (h *Head) Keys() int64 { return h.counts.total() }

// Store is the key space of one state store.
type Store struct {
	db   *storage.Store
	head atomic.Pointer[Head]
	// committing is locked while the store may hold a batch that is not published yet, see
	// awaitNext.
	committing sync.Mutex
	// replacing is set while the state store is being replaced, see Replacement.
	replacing    atomic.Pointer[Replacement]
	replacements atomic.Uint64 // number of completed replacements
	cache        cache
}

// Open returns the key space in db as of the given revisions, which the caller stores together with
// the applied index. It reads the count index, not the keys.
func Open(db *storage.Store, revision, compactRevision int64) (*Store, error) {
	head, err := loadHead(db, revision, compactRevision)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, cache: cache{recent: recent{bytesMax: recentBytesMax}, suspended: head.Loading}}
	s.head.Store(head)
	return s, nil
}

// loadHead reads the parts of a head other than its revisions.
func loadHead(db *storage.Store, revision, compactRevision int64) (*Head, error) {
	c, err := loadCounts(db)
	if err != nil {
		return nil, fmt.Errorf("load count index: %w", err)
	}
	mixed, err := loadMixed(db)
	if err != nil {
		return nil, err
	}
	loading, err := loadLoading(db)
	if err != nil {
		return nil, err
	}
	return &Head{
		Revision: revision, CompactRevision: compactRevision, compactedBefore: compactRevision, Mixed: mixed, Loading: loading, counts: c,
	}, nil
}

// Head returns the newest published state.
func (s *Store) Head() *Head { return s.head.Load() }

// currentKey appends the key of table c for a user key.
func currentKey(dst, key []byte) []byte {
	return append(append(dst, byte(storage.TableCurrent)), key...)
}

// currentBounds returns the bounds of table c for a range of user keys.
func currentBounds(r kv.KeyRange) (lower, upper []byte) {
	lower = currentKey(nil, r.Key)
	switch {
	case r.SingleKey():
		return lower, append(currentKey(nil, r.Key), 0)
	case r.Unbounded():
		return lower, []byte{byte(storage.TableCurrent) + 1}
	default:
		return lower, currentKey(nil, r.End)
	}
}

// eventKey appends the key of table r for a revision.
func eventKey(dst []byte, rev kv.Revision) []byte {
	dst = append(dst, byte(storage.TableRevisions))
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev.Main))
	return binary.BigEndian.AppendUint32(dst, uint32(rev.Sub))
}

// parseEventKey is the inverse of eventKey.
func parseEventKey(key []byte) (kv.Revision, error) {
	if len(key) != 13 {
		return kv.Revision{}, fmt.Errorf("%w: revision key of %d bytes", ErrCorrupt, len(key))
	}
	return kv.Revision{
		Main: int64(binary.BigEndian.Uint64(key[1:9])),
		Sub:  int64(binary.BigEndian.Uint32(key[9:13])),
	}, nil
}

// tombstoneKey appends the key of table x for the revision of a delete.
func tombstoneKey(dst []byte, rev kv.Revision) []byte {
	at := len(dst)
	dst = eventKey(dst, rev)
	dst[at] = byte(storage.TableTombstones)
	return dst
}
