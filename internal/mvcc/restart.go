package mvcc

import (
	"bytes"
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// ErrLoading refuses reads while the first keys of a store come from another cluster (see Restart):
// they would return an incomplete set of keys.
var ErrLoading = kv.NewRefusal("keys are being loaded from another cluster: read when they are complete")

// loadingKey is there while Head.Loading is set.
var loadingKey = []byte{byte(storage.TableSystem), 'l'}

// IsLoadingKey reports whether a key of the state store marks a state whose keys are not complete.
func IsLoadingKey(key []byte) bool { return bytes.Equal(key, loadingKey) }

func loadLoading(db *storage.Store) (bool, error) {
	_, err := db.Get(loadingKey, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load whether keys are being loaded: %w", err)
	}
	return true, nil
}

// Restart removes all keys and their history, and makes revision the store's: its history begins
// there, and what was before it cannot be read. The keys as of that revision follow by Load, and
// EndLoading ends them; until then reads return ErrLoading.
//
// The batch must be empty, and take nothing else that reads keys: it does not read the gap. The
// caller commits it within a Replacement, since readers may see the store without its keys. The
// revision must not be before the current one.
func (w *Writer) Restart(revision int64) error {
	if revision < w.head.Revision || len(w.events) > 0 {
		return fmt.Errorf("restart keys at revision %d with %d changes open: the store is at revision %d", revision, len(w.events), w.head.Revision)
	}
	for _, t := range [...]storage.Table{
		storage.TableCurrent, storage.TableRevisions, storage.TableTombstones, storage.TableCounts, storage.TableLeaseKeys,
	} {
		if err := w.b.DeleteRange([]byte{byte(t)}, []byte{byte(t) + 1}); err != nil {
			return fmt.Errorf("restart keys: %w", err)
		}
	}
	compacted := int64(0)
	if revision > FirstRevision {
		compacted = revision
		if err := w.b.Append(AdvanceEvent(revision)); err != nil {
			return fmt.Errorf("restart keys: %w", err)
		}
	}
	w.b.Set(loadingKey, nil)
	none := &counts{chunks: []*countChunk{{starts: []string{""}, live: []int64{0}}}}
	w.head = Head{Revision: revision, CompactRevision: compacted, compactedBefore: compacted, Mixed: w.head.Mixed, Loading: true, counts: none}
	w.s.cache.suspend(true)
	w.swept = kv.Revision{}
	w.counts = countsEdit{}
	w.counts.begin(none)
	return nil
}

// Load makes r, a record as of the revision of Restart or before it, the newest of a key; a
// tombstone removes the key. It moves no revision and makes no event. An open command is needed,
// which must not be aborted afterwards.
func (w *Writer) Load(key []byte, r *kv.Record) error {
	old, live, err := w.newest(key)
	if err != nil {
		return err
	}
	w.moveLease(key, old.Lease, r.Lease)
	w.key = currentKey(w.key[:0], key)
	switch {
	case r.Deleted && live:
		w.counts.add(key, -1)
		w.b.Delete(w.key)
	case r.Deleted:
	default:
		if !live {
			w.counts.add(key, 1)
		}
		w.noteMixed(&PutOp{Key: key})
		w.b.Set(w.key, appendNode(w.nodes.reserve(len(r.Value)+64), &node{Record: *r}))
	}
	return nil
}

// EndLoading reports to readers that the keys are complete.
func (w *Writer) EndLoading() {
	w.head.Loading = false
	w.b.Delete(loadingKey)
}
