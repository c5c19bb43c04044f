package mvcc

import (
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// mixedKey exists when Head.Mixed is set.
var mixedKey = []byte{byte(storage.TableSystem), 'x'}

func loadMixed(db *storage.Store) (bool, error) {
	_, err := db.Get(mixedKey, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load the flag that v3 has written keys of v2: %w", err)
	}
	return true, nil
}

// noteMixed sets Head.Mixed for a put that is not v2's. If the put's command is aborted later, that
// is harmless: v2 loses an optimization.
func (w *Writer) noteMixed(op *PutOp) {
	if op.Action == kv.ActionNone && len(op.Key) > 0 && op.Key[0] == '/' {
		w.head.Mixed = true
	}
}

func (w *Writer) storeMixed() {
	if w.head.Mixed && !w.s.head.Load().Mixed {
		w.b.Set(mixedKey, nil)
	}
}
